import { randomBytes } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import type { Settings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { errnoOf, messageOf, NexusError } from '../../errors.js'
import { HeldDirectory } from '../../system/held-directory.js'
import { givesFilesAway } from '../../system/ownership.js'
import { trustedPath } from '../../system/trusted-path.js'
import { walReader } from '../sealing/wal-seal-for.js'
import { askerOf, clearFetched } from './fetch-spool.js'
import { archiveForFetch } from './find-archive.js'
import type { WalCall } from './note.js'
import { prefetch } from './prefetch.js'
import { walNameOf } from './read-wal.js'

export interface FetchRequest {
  settings: Settings
  /** The file wanted, as PostgreSQL gives it with %f. */
  name: string
  /** Where to put it, as PostgreSQL gives it with %p: relative to the working directory, or absolute by pg_rewind. */
  path: string
  /** The working directory: of a server its data directory. */
  cwd: string
  source: string | undefined
  /** Takes a file that is not ours too, with a warning. */
  untrusted?: boolean
  /** Takes the next segments too, for the calls to come; null for this file alone. */
  ahead: WalCall | null
  /** Read and compare everything, and write nothing. */
  dryRun: boolean
}

export interface FetchResult {
  command: 'pitr fetch'
  source: string
  system_identifier: string
  name: string
  path: string
  /** Names of the segments fetched ahead. */
  ahead: string[]
}

/**
 * Takes one file out of the archive, compares every digest and puts it where PostgreSQL wants it, whole or not at all.
 * Takes no lock and keeps no journal.
 * @throws NexusError not-found `wal_not_archived` only when the archive was read and has no such file; everything else is
 *   of another kind, so that recovery stops instead of ending early (anchors/postgres.md 2.2)
 */
export async function fetchWal(context: Context, request: FetchRequest): Promise<FetchResult> {
  try {
    return await fetchOne(context, request)
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind !== 'not-found' || error.code === 'wal_not_archived') throw error
    throw new NexusError('failed', error.code, error.message, {
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      cause: error,
    })
  }
}

async function fetchOne(context: Context, request: FetchRequest): Promise<FetchResult> {
  const { cwd, settings, ahead } = request
  const { name } = walNameOf(request.name)
  const path = resolve(cwd, request.path)
  const { directory, control, recovers, wantsNext } = askerOf(cwd, request.path)
  const { room, archive: found } = await archiveForFetch(settings, {
    source: request.source,
    systemIdentifier: control?.systemIdentifier,
    cwd: directory,
  })
  const archive = room.wal(found.systemIdentifier, walReader(context, room.repository, request))
  const file = await archive.read(name).catch(error => {
    // The log ends here, or the server looks for a newer timeline: what was taken ahead is of no use.
    if (recovers && error instanceof NexusError && error.code === 'wal_not_archived') clearFetched(context, directory)
    throw error
  })
  if (!request.dryRun) await place(file.plain, path)
  const taken =
    ahead === null || control === undefined || !wantsNext
      ? []
      : await prefetch(context, { archive, name, room: file.plain, directory, call: ahead })
  return {
    command: 'pitr fetch',
    source: room.name,
    system_identifier: archive.systemIdentifier,
    name,
    path,
    ahead: taken,
  }
}

/** Writes a file beside its place and renames it there. The server syncs what it keeps (PostgreSQL xlogarchive.c). */
async function place(plain: Buffer, path: string): Promise<void> {
  try {
    const directory = HeldDirectory.open(trustedPath(dirname(path)))
    try {
      await placeIn(directory, basename(path), plain)
    } finally {
      directory.close()
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    throw new NexusError('failed', 'wal_not_written', `cannot write ${path}: ${messageOf(error)}`, {
      hint: 'see that the disk of pg_wal has room and that this user may write there',
      cause: error,
    })
  }
}

async function placeIn(directory: HeldDirectory, name: string, plain: Buffer): Promise<void> {
  const temporary = directory.at(`${name}.nexus-${randomBytes(4).toString('hex')}`)
  try {
    const handle = await open(temporary, 'wx', 0o600)
    try {
      await handle.writeFile(plain)
      const { uid, gid } = directory.stat()
      if (givesFilesAway()) await handle.chown(uid, gid)
    } finally {
      await handle.close()
    }
    await rename(temporary, directory.at(name))
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}
