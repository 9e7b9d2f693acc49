import { mkdirSync, statSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../../errors.js'
import { archivedSuffix, removeFromSpool, spoolName } from './note.js'

/**
 * The archiver's spool in pg_wal, made when it is not there; undefined where there is none to use: without permission, and for root
 * in another user's directory, who would write there wherever that user points.
 */
export function openSpool(walDirectory: string): string | undefined {
  const spool = join(walDirectory, spoolName)
  try {
    if (statSync(walDirectory).uid !== process.geteuid?.()) return undefined
    mkdirSync(spool, { mode: 0o700 })
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') return undefined
  }
  return spool
}

/** Removes notes of files that the server no longer wants archived. */
export async function clearArchived(spool: string, ready: readonly string[]): Promise<void> {
  const wanted = new Set(ready.map(name => name + archivedSuffix))
  await clear(spool, name => name.endsWith(archivedSuffix) && !wanted.has(name))
}

async function clear(spool: string, isStale: (name: string) => boolean): Promise<void> {
  const found = await readdir(spool).catch(() => [])
  removeFromSpool(spool, found.filter(isStale))
}
