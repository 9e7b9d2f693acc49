import type { TreeEntry } from '../../image/tree/types.js'
import type { FoundStats } from './found.js'

/**
 * Milliseconds that a file must have been left alone before a capture began, for its times to tell a later change: a
 * second change within one tick of the file system's clock leaves the times as they are (git's Documentation/technical/
 * racy-git.txt), and the coarsest file systems count in 2 seconds.
 */
const TICK_MS = 2000

/** What a file's entry keeps for the next capture. Times are nanoseconds, which no JSON number holds exactly. */
export interface EntryFacts extends Record<string, unknown> {
  /** Device and inode. */
  inode: string
  mtime: string
  ctime: string
  born: string
  /** Whether the same times mean the same content. */
  settled: boolean
  /** Its extended attributes stand in the entry, if it has any; earlier captures did not keep them. */
  attributes: true
}

export function factsOf({ inode, mtime, ctime, born }: FoundStats, begunAt: Date): EntryFacts {
  const settled = Number(ctime / 1_000_000n) < begunAt.getTime() - TICK_MS
  return { inode, mtime: String(mtime), ctime: String(ctime), born: String(born), settled, attributes: true }
}

/** Whether a file holds what it held when its earlier entry was made; told without reading it. */
export function isUnchanged(now: FoundStats, { size, facts }: TreeEntry): boolean {
  const { inode, mtime, ctime, settled, attributes } = facts
  return (
    settled === true &&
    attributes === true &&
    now.size === size &&
    now.inode === inode &&
    String(now.mtime) === mtime &&
    String(now.ctime) === ctime
  )
}

/** Names a file whatever it is called: an inode's number is given to another file once it is free, with a later birth. */
export function identityOf(facts: { inode?: unknown; born?: unknown }): string {
  return `${facts.inode}:${facts.born}`
}
