import { lstatSync, mkdirSync, readdirSync, rmSync, statfsSync, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import type { Context } from '../../context.js'
import { errnoOf } from '../../errors.js'
import { readControlFile } from '../../sources/postgres/control-file.js'

// bin/nexus-backup computes the same path from its own variables.

/**
 * Where segments wait that were fetched ahead: a directory of the server's user, one for each data directory, and never in
 * it. What pg_rewind or another program finds in a data directory it must find there again a moment later.
 */
const PREFIX = 'nexus-backup-wal'
/** On a disk, unlike /tmp on many systems. */
const TEMPORARY = '/var/tmp'
const OTHERS = 0o077
const STICKY = 0o1000
const OTHERS_WRITE = 0o022
/** A spool that nobody used for so long is of a recovery that was given up. */
const STALE_MS = 24 * 60 * 60 * 1000
/** Segments ahead are never worth a full disk. */
const LEAST_FREE_BYTES = 1024 * 1024 * 1024

/** Where a recovering server wants what its restore_command fetches (PostgreSQL xlogarchive.c). */
const RECOVERED_SEGMENT = 'RECOVERYXLOG'
const RECOVERED_HISTORY = 'RECOVERYHISTORY'

/** Who asks for a file of the archive. */
export interface Asker {
  /** The data directory it is for: the one above its path, else the working directory. */
  directory: string
  /** Undefined where there is no data directory. */
  control: ReturnType<typeof readControlFile>
  /** A server that recovers, and so asks for the following ones too. Any other asks for this one only: pg_rewind. */
  recovers: boolean
  /** The same, and a segment was asked for. */
  wantsNext: boolean
}

/**
 * @param cwd PostgreSQL's working directory is its data directory; pg_rewind's is anywhere, and it gives an absolute path
 * @param path where to put the file, as PostgreSQL's %p
 */
export function askerOf(cwd: string, path: string): Asker {
  const { directory, control } = dataDirectoryOf(cwd, path)
  const name = basename(path)
  // The shell of bin/nexus-backup knows the working directory only.
  const recovers = directory === resolve(cwd) && (name === RECOVERED_SEGMENT || name === RECOVERED_HISTORY)
  return { directory, control, recovers, wantsNext: recovers && name === RECOVERED_SEGMENT }
}

/** The data directory that a file of pg_wal belongs to, by its path, else by the working directory. */
export function dataDirectoryOf(cwd: string, path: string): Pick<Asker, 'directory' | 'control'> {
  const above = dirname(dirname(resolve(cwd, path)))
  const control = readControlFile(above)
  return control === undefined
    ? { directory: resolve(cwd), control: readControlFile(cwd) }
    : { directory: above, control }
}

/** The path of a data directory's spool; undefined where there is none to use. */
function fetchSpoolOf({ env }: Pick<Context, 'env'>, directory: string): string | undefined {
  const temporary = env.TMPDIR || TEMPORARY
  if (!temporary.startsWith('/')) return undefined
  return join(temporary, `${PREFIX}${directory.replaceAll('/', '-')}`)
}

/**
 * Makes the spool of a data directory. Undefined where there is none to use: for root in another user's data directory,
 * where somebody else may write, or where the disk is nearly full.
 */
export function openFetchSpool(context: Pick<Context, 'env' | 'now'>, directory: string): string | undefined {
  const spool = fetchSpoolOf(context, directory)
  if (spool === undefined) return undefined
  try {
    if (statSync(join(directory, 'pg_wal')).uid !== process.geteuid?.() || !isSafe(dirname(spool))) return undefined
    if (!isOurs(spool)) mkdirSync(spool, { mode: 0o700 })
    const { bavail, bsize } = statfsSync(spool)
    return bavail * bsize > LEAST_FREE_BYTES ? spool : undefined
  } catch {
    // Without it the segments are fetched one by one.
    return undefined
  }
}

/** Removes what was fetched ahead for a data directory, and spools that were given up. */
export function clearFetched(context: Pick<Context, 'env' | 'now'>, directory: string): void {
  const spool = fetchSpoolOf(context, directory)
  if (spool === undefined) return
  try {
    if (isOurs(spool)) rmSync(spool, { recursive: true, force: true })
    for (const name of readdirSync(dirname(spool))) {
      const path = join(dirname(spool), name)
      if (name.startsWith(`${PREFIX}-`) && isOurs(path) && isStale(path, context.now())) {
        rmSync(path, { recursive: true, force: true })
      }
    }
  } catch {
    // What stays is in nobody's way, and is tried again.
  }
}

function isStale(path: string, now: Date): boolean {
  return now.getTime() - statSync(path).mtimeMs > STALE_MS
}

/** A directory, not a link to one, that belongs to us and is closed to others. */
function isOurs(path: string): boolean {
  try {
    const found = lstatSync(path)
    return found.isDirectory() && found.uid === process.geteuid?.() && (found.mode & OTHERS) === 0
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

/** Whether nobody but us and root can rename what is in a directory. */
function isSafe(path: string): boolean {
  const { uid, mode } = statSync(path)
  return (uid === 0 || uid === process.geteuid?.()) && ((mode & OTHERS_WRITE) === 0 || (mode & STICKY) !== 0)
}
