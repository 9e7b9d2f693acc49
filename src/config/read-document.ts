import { createRequire } from 'node:module'
import type { LineCounter, Node, Pair, ParsedNode } from 'yaml'
import type { ConfigurationProblem, KeyPath, ReadDocument } from './problems.js'

/** The text of a configuration as plain data, or what is wrong with its YAML. */
export type DocumentReading =
  | { ok: true; value: unknown; document: ReadDocument }
  | { ok: false; problems: ConfigurationProblem[] }

/** Loaded with the first configuration: its 72 modules take a third of a run that has none. */
const yaml = (): typeof import('yaml') => createRequire(import.meta.url)('yaml')

/** Parses the YAML of a configuration. `${…}` means nothing; few aliases are followed, so none can explode. */
export function readDocument(text: string): DocumentReading {
  const { LineCounter, parseDocument } = yaml()
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
    const root = parsed.contents
    return { ok: true, value: value ?? {}, document: { lineOf: path => lineOf(root, lines, path) } }
  } catch (error) {
    return { ok: false, problems: [{ line: null, key: '', message: `not valid YAML: ${(error as Error).message}` }] }
  }
}

function lineOf(root: ParsedNode | null, lines: LineCounter, path: KeyPath): number | null {
  const { isMap, isScalar, isSeq } = yaml()
  const keyText = (pair: Pair) => (isScalar(pair.key) ? String(pair.key.value) : '')
  let node: Node | null = root
  let offset = root?.range[0]
  for (const key of path) {
    const pair: Pair | undefined = isMap(node) ? node.items.find(item => keyText(item) === String(key)) : undefined
    const next: Node | null | undefined = isSeq(node) ? (node.items[Number(key)] as Node) : (pair?.value as Node | null)
    if (next === undefined && pair === undefined) break
    offset = (pair === undefined ? next?.range?.[0] : (pair.key as Node | null)?.range?.[0]) ?? offset
    node = next ?? null
  }
  return offset === undefined ? null : lines.linePos(offset).line
}
