import { LineCounter, parseDocument } from 'yaml'
import type { ConfigurationProblem, ReadDocument } from './problems.js'

/** The text of a configuration as plain data, or what is wrong with its YAML. */
export type DocumentReading =
  | { ok: true; value: unknown; document: ReadDocument }
  | { ok: false; problems: ConfigurationProblem[] }

/** Parses the YAML of a configuration. `${…}` means nothing; few aliases are followed, so none can explode. */
export function readDocument(text: string): DocumentReading {
  const lines = new LineCounter()
  const parsed = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, version: '1.2' })
  const problems = [...parsed.errors, ...parsed.warnings].map(error => ({
    line: lines.linePos(error.pos[0]).line,
    key: '',
    message: `not valid YAML: ${error.message}`,
  }))
  if (problems.length > 0) return { ok: false, problems }
  try {
    const value: unknown = parsed.toJS({ maxAliasCount: 100 })
    return { ok: true, value: value ?? {}, document: { root: parsed.contents, lines } }
  } catch (error) {
    return { ok: false, problems: [{ line: null, key: '', message: `not valid YAML: ${(error as Error).message}` }] }
  }
}
