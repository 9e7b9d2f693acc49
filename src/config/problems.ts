import type * as v from 'valibot'
import { nearest } from './nearest.js'

/** One mistake in a configuration. */
export interface ConfigurationProblem {
  /** Line in the file, from 1; null where no line is to blame. */
  line: number | null
  /** Dotted path of the key; empty for the whole document. */
  key: string
  message: string
}

export type KeyPath = readonly (string | number)[]

/** What was read, with the way back from a key to its line. */
export interface ReadDocument {
  /** The line of a key, from 1, or of the nearest one above it that is there; null for an empty document. */
  lineOf(path: KeyPath): number | null
}

/** The mistake at a path, with the line of its key. */
export function problemAt(document: ReadDocument, path: KeyPath, message: string): ConfigurationProblem {
  return { line: document.lineOf(path), key: path.join('.'), message }
}

/** What a schema found, in words, with the nearest known key for an unknown one. */
export function problemsOf(
  document: ReadDocument,
  schema: v.GenericSchema,
  issues: readonly v.BaseIssue<unknown>[],
  prefix: KeyPath,
): ConfigurationProblem[] {
  return issues.map(issue => {
    const inner = (issue.path ?? []).map(item => item.key as string | number)
    return problemAt(document, [...prefix, ...inner], describe(issue, schema, inner))
  })
}

function describe(issue: v.BaseIssue<unknown>, schema: v.GenericSchema, path: KeyPath): string {
  if (issue.type !== 'strict_object') return issue.message.startsWith('Invalid') ? 'is not valid here' : issue.message
  const key = path.at(-1)
  if (key === undefined || (issue.expected !== 'never' && issue.input !== undefined && issue.received === 'Object')) {
    return issue.message
  }
  if (issue.expected !== 'never') return issue.received === 'undefined' ? 'is missing' : issue.message
  const known = knownKeys(schema, path.slice(0, -1))
  const meant = nearest(String(key), known)
  return meant === undefined ? `unknown key; known here: ${known.join(', ')}` : `unknown key; did you mean '${meant}'?`
}

/** The keys that a schema knows at a path. */
function knownKeys(schema: v.GenericSchema, path: KeyPath): string[] {
  const open = unwrap(schema)
  const [first, ...rest] = path
  if (open.item !== undefined && first !== undefined) return knownKeys(open.item, rest)
  const { entries } = open
  if (entries === undefined) return []
  if (first === undefined) return Object.keys(entries)
  const next = entries[String(first)]
  return next === undefined ? [] : knownKeys(next, rest)
}

interface ObjectSchema extends v.GenericSchema {
  entries?: Record<string, v.GenericSchema>
  /** Of a list. */
  item?: v.GenericSchema
  wrapped?: v.GenericSchema
  pipe?: readonly v.GenericSchema[]
}

function unwrap(schema: v.GenericSchema): ObjectSchema {
  const open = schema as ObjectSchema
  if (open.wrapped !== undefined) return unwrap(open.wrapped)
  for (const step of open.pipe ?? []) {
    // The first step of a pipe is the schema itself without the pipe.
    const inner = step === schema ? open : unwrap(step)
    if (inner.entries !== undefined || inner.item !== undefined) return inner
  }
  return open
}
