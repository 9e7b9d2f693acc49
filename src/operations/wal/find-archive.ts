import type { RepositorySettings, Settings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import { openRepository } from '../../repository/open.js'
import type { SourceRoom } from '../../repository/types.js'
import type { WalArchive } from '../../repository/wal/types.js'
import { clusterSources, configuredSource, roomOf } from './find-source.js'

/**
 * The archive that a cluster's WAL is fetched from: of the system that the data directory is of, and no other one's.
 * @param systemIdentifier undefined where there is no data directory: then the source's claim tells
 * @throws NexusError when there is none, or nothing tells which; never not-found `wal_not_archived`
 */
export async function archiveForFetch(
  settings: Settings,
  asked: { source: string | undefined; systemIdentifier: string | undefined; cwd: string },
): Promise<{ room: SourceRoom; archive: WalArchive }> {
  const { source, systemIdentifier } = asked
  const rooms = source === undefined ? await clusterRooms(settings) : await namedRooms(settings, source)
  if (systemIdentifier !== undefined) {
    const [room, another] = await roomsWith(rooms, systemIdentifier)
    if (room !== undefined && another === undefined) return { room, archive: room.wal(systemIdentifier) }
    // A backup that was made without archiving restores by the WAL it carries; then nothing is archived at all.
    const [only, second] = rooms
    if (room === undefined && source !== undefined && only !== undefined && second === undefined) {
      return { room: only, archive: only.wal(systemIdentifier) }
    }
    throw room === undefined ? unknown(systemIdentifier, rooms) : ambiguous(systemIdentifier)
  }
  const [room, another] = rooms
  if (room === undefined || another !== undefined) throw ambiguous('of the data directory')
  const claimed = (await room.claim())?.system_identifier
  const systems = claimed == null ? await room.walSystems() : [claimed]
  const [system, other] = systems
  if (system === undefined || other !== undefined) throw ambiguous('of the data directory')
  return { room, archive: room.wal(system) }
}

async function clusterRooms(settings: Settings): Promise<SourceRoom[]> {
  const sources = clusterSources(settings)
  if (sources.length > 0) return Promise.all(sources.map(roomOf))
  return everyRoom(settings)
}

async function namedRooms(settings: Settings, name: string): Promise<SourceRoom[]> {
  const source = configuredSource(settings, name)
  const rooms = source === undefined ? await everyRoom(settings) : await roomsOfRepository(source.repository)
  const named = rooms.filter(room => room.name === name)
  if (named.length > 0) return named
  throw new NexusError('failed', 'wal_source_unknown', `there is no source ${JSON.stringify(name)} in the repository`, {
    hint: 'see which there are with: nexus-backup list',
  })
}

async function everyRoom(settings: Settings): Promise<SourceRoom[]> {
  const rooms = await Promise.all(settings.repositories.map(roomsOfRepository))
  return rooms.flat()
}

async function roomsOfRepository(place: RepositorySettings): Promise<SourceRoom[]> {
  const repository = await openRepository(place)
  const names = (await repository.sources()).filter(name => place.copyOf?.has(name) !== true)
  return names.map(name => repository.source(name))
}

async function roomsWith(rooms: readonly SourceRoom[], systemIdentifier: string): Promise<SourceRoom[]> {
  const found = await Promise.all(
    rooms.map(async room => ((await room.walSystems()).includes(systemIdentifier) ? [room] : [])),
  )
  return found.flat()
}

function unknown(systemIdentifier: string, rooms: readonly SourceRoom[]): NexusError {
  const names = rooms.map(({ name }) => name).join(', ')
  return new NexusError('failed', 'wal_source_unknown', `no source has WAL of system ${systemIdentifier}`, {
    hint:
      names === ''
        ? 'configure its source (nexus-backup-config(5))'
        : `looked at: ${names}; name it with --source NAME`,
  })
}

function ambiguous(what: string): NexusError {
  return new NexusError('failed', 'wal_source_ambiguous', `which source has the WAL of system ${what} cannot be told`, {
    hint: 'name it in restore_command: nexus-backup pitr fetch --source NAME %f %p',
  })
}
