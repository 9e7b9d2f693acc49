import { basename, resolve } from 'node:path'
import type { EncryptionSettings, Settings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { SourceRoom } from '../../repository/types.js'
import type { PackThreads } from '../../repository/wal/pack-thread.js'
import type { WalName } from '../../sources/postgres/wal-names.js'
import { type Destination, enter, systemOf } from './destination.js'
import { dataDirectoryOf } from './fetch-spool.js'
import { roomForArchive } from './find-source.js'
import { isOfOneFile, lookAhead, startPackingFor } from './look-ahead.js'
import type { WalCall } from './note.js'
import { readWal, walNameOf } from './read-wal.js'

export interface ArchiveRequest {
  settings: Settings
  /** As PostgreSQL gives it with %p: relative to the working directory. */
  path: string
  /** The working directory: PostgreSQL's data directory. */
  cwd: string
  source: string | undefined
  /** Archives what else is ready and leaves notes for the calls to come; null for this file alone. */
  ahead: WalCall | null
  /** Look at everything and store nothing. */
  dryRun: boolean
}

export interface ArchiveResult {
  command: 'pitr archive'
  source: string
  system_identifier: string
  name: string
  result: 'stored' | 'identical' | 'planned'
  /** Names of other files archived beside it. */
  ahead: string[]
}

/**
 * Archives one file of pg_wal, and whatever else is ready. It returns only when this one is durable; what failed of the
 * others is met again when their turn comes. Where something is wrong with this file alone the others are stored all the
 * same, for the server asks for this one again and again before it goes on to them. Takes no lock and keeps no journal: the
 * archive's own headers are the record, and a failure stands in the server's log and in pg_stat_archiver.
 * @throws NexusError refused for a foreign, malformed or different file; see `WalArchive.put`. With `wal_copies: sync` also
 *   what keeps a copy from taking the file
 */
export async function archiveWal(context: Context, request: ArchiveRequest): Promise<ArchiveResult> {
  const { cwd } = request
  const name = walNameOf(basename(request.path))
  const path = resolve(cwd, request.path)
  const packing = request.ahead === null || request.dryRun ? undefined : await startPackingFor(path)
  const wanted = { name, path, packing }
  try {
    return await archiveWith(context, request, wanted)
  } catch (error) {
    if (!isOfOneFile(error)) throw error
    // What hinders the others too is told when they are asked for.
    throw besides(error, await archiveOthers(context, request, wanted).catch(() => []))
  } finally {
    await packing?.stop()
  }
}

interface Wanted {
  name: WalName
  /** Absolute. */
  path: string
  packing: PackThreads | undefined
}

async function archiveWith(
  context: Context,
  { settings, cwd, source, dryRun, ahead: call }: ArchiveRequest,
  { name, path, packing }: Wanted,
): Promise<ArchiveResult> {
  const { directory, control } = dataDirectoryOf(cwd, path)
  const file = await readWal(path, name, control)
  const systemIdentifier = control?.systemIdentifier ?? file.systemIdentifier
  const room = await roomForArchive(settings, {
    source,
    systemIdentifier: control?.systemIdentifier,
    cwd: directory,
  })
  if (dryRun) return planned(room, file.name, await systemOf(room, systemIdentifier))
  const encryption = encryptionOf(settings, room)
  const destination = await enter(context, room, control, { systemIdentifier, encryption, file })
  const result = await destination.archive.put(file.name, file.plain, { closedAt: file.closedAt, now: context.now() })
  const copies = await copiesFor(context, settings, destination)
  await copies?.now(file.name)
  const ahead =
    call === null ? [] : await lookAhead(context, destination, path, { call, packing, copyNow: copies?.now })
  await copies?.later({ path, names: [file.name, ...ahead] })
  return {
    command: 'pitr archive',
    source: room.name,
    system_identifier: destination.archive.systemIdentifier,
    name: file.name,
    result,
    ahead,
  }
}

/** Archives the other files that are ready. @returns names */
async function archiveOthers(
  context: Context,
  { settings, cwd, source, dryRun, ahead: call }: ArchiveRequest,
  { name, path, packing }: Wanted,
): Promise<string[]> {
  const { directory, control } = dataDirectoryOf(cwd, path)
  if (control === undefined || call === null || dryRun) return []
  const { systemIdentifier } = control
  const room = await roomForArchive(settings, { source, systemIdentifier, cwd: directory })
  const file = { name: name.name, plain: Buffer.alloc(0) }
  const encryption = encryptionOf(settings, room)
  const destination = await enter(context, room, control, { systemIdentifier, encryption, file })
  const copies = await copiesFor(context, settings, destination)
  const names = await lookAhead(context, destination, path, { call, packing, copyNow: copies?.now })
  await copies?.later({ path, names })
  return names
}

function besides(error: NexusError, ahead: readonly string[]): NexusError {
  if (ahead.length === 0) return error
  const stored = `the server asks for this file until it is archived; ${ahead.length} others that were ready are stored already`
  return new NexusError(error.kind, error.code, error.message, {
    cause: error,
    hint: error.hint === undefined ? stored : `${error.hint}; ${stored}`,
  })
}

/** How files go to the source's copies. Most sources have none: a server waits for each segment, and nothing is loaded. */
async function copiesFor(context: Context, settings: Settings, destination: Destination) {
  const { name } = destination.room
  const wanted = settings.sources.some(
    source => source.kind === 'postgres' && source.name === name && source.walCopies !== undefined,
  )
  if (!wanted) return undefined
  const { catchUp, copiesOf, copyNow } = await import('./archive-copies.js')
  const copies = copiesOf(context, settings, destination)
  return (
    copies && {
      now: (file: string) => copyNow(copies, file),
      later: (done: { path: string; names: readonly string[] }) => catchUp(context, copies, destination, done),
    }
  )
}

/** What the configuration wants of the repository that a room is in. */
function encryptionOf({ repositories }: Settings, { repository }: SourceRoom): EncryptionSettings | undefined {
  return repositories.find(({ path }) => path === repository.location)?.encryption
}

function planned(room: SourceRoom, name: string, systemIdentifier: string): ArchiveResult {
  const { name: source } = room
  return { command: 'pitr archive', source, system_identifier: systemIdentifier, name, result: 'planned', ahead: [] }
}
