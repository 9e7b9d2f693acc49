import { createHash } from 'node:crypto'

/**
 * One row of the journal. The start and the end of an operation are rows of their own, for no row ever changes.
 * Fields that say nothing of an end (`operation`, `source` …) are null there: `begun` leads to its beginning.
 */
export interface Link {
  /** 1, 2, 3 … without a gap. */
  sequence: number
  event: 'begin' | 'end'
  /** Sequence of the operation's first link; its own for a beginning. */
  begun: number
  /** ISO 8601 UTC. */
  at: string
  operation: string | null
  source: string | null
  repository: string | null
  backup: string | null
  user: string
  sudo_user: string | null
  host: string
  pid: number
  /** Tells this process from a later one of the same number (processes.ts); null where the system does not say. */
  process_start: string | null
  result: string | null
  error: string | null
  /** The hash of the link before; 64 zeros for the first. */
  previous: string
  hash: string
}

/** In the order in which they are hashed, which is also that of the table's columns. */
export const linkFields = [
  'previous',
  'sequence',
  'event',
  'begun',
  'at',
  'operation',
  'source',
  'repository',
  'backup',
  'user',
  'sudo_user',
  'host',
  'pid',
  'process_start',
  'result',
  'error',
] as const satisfies readonly (keyof Link)[]

export const firstPrevious = '0'.repeat(64)

/**
 * The hash of a link: SHA-256, in lower-case hexadecimal, of the UTF-8 bytes of a JSON array that holds the values of
 * `linkFields` in that order, as `JSON.stringify` writes it: no space, strings and numbers and null only. The array
 * keeps neighbouring fields apart, and `previous` as its first value binds every link before this one.
 */
export function hashOf(link: Omit<Link, 'hash'>): string {
  const encoded = JSON.stringify(linkFields.map(field => link[field]))
  return createHash('sha256').update(encoded).digest('hex')
}

/**
 * What is wrong with a chain of links, or undefined when every one holds.
 * Links cut off at the end do not show here: the head that manifests carry tells (types.ts, `head`).
 * @param links in order of sequence
 */
export function chainProblem(links: readonly Link[]): string | undefined {
  let previous = firstPrevious
  for (const [index, link] of links.entries()) {
    const expected = index + 1
    if (link.sequence > expected) return `link ${expected} is missing`
    if (link.sequence !== expected) return `link ${link.sequence} was inserted`
    if (link.previous !== previous) return `link ${expected} does not follow the one before it`
    if (link.hash !== hashOf(link)) return `link ${expected} was changed`
    previous = link.hash
  }
  return undefined
}
