import { nearest } from '../../config/nearest.js'
import type { PostgresSourceSettings, Settings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import { openRepository } from '../../repository/open.js'
import type { SourceRoom } from '../../repository/types.js'
import { isSamePlace, otherServer } from '../../sources/postgres/other-server.js'

/** The configured source of this name, of kind postgres; undefined when the configuration has none of the name. */
export function configuredSource(settings: Settings, name: string): PostgresSourceSettings | undefined {
  const source = settings.sources.find(candidate => candidate.name === name)
  if (source === undefined || source.kind === 'postgres') return source
  throw new NexusError('usage', 'source_kind', `source ${name} is of kind ${source.kind}, which has no WAL`, {
    hint: 'name a source of kind postgres with --source NAME',
  })
}

export function clusterSources(settings: Settings): PostgresSourceSettings[] {
  return settings.sources.filter(source => source.kind === 'postgres')
}

/**
 * The room that a cluster's WAL goes into: that of the source named, else of the one that the system has claimed, else of
 * the only one that nobody has claimed yet and that is not for another server by its settings.
 * @param asked.cwd the data directory
 * @param systemIdentifier undefined where there is no data directory; then a source must be named
 * @throws NexusError usage, configuration `wal_source_unknown`, refused for systems that no source is for
 */
export async function roomForArchive(
  settings: Settings,
  asked: { source: string | undefined; systemIdentifier: string | undefined; cwd: string },
): Promise<SourceRoom> {
  if (asked.source !== undefined) return namedRoom(settings, asked.source)
  const { systemIdentifier, cwd } = asked
  if (systemIdentifier === undefined) throw noDataDirectory(cwd)
  const candidates = await Promise.all(
    clusterSources(settings).map(async source => {
      const room = await roomOf(source)
      return { source, room, claim: await room.claim(), other: otherServer(source, cwd) }
    }),
  )
  if (candidates.length === 0) throw noClusters(settings)
  const claimed = candidates.filter(({ claim }) => claim?.system_identifier === systemIdentifier)
  const free = candidates.filter(({ claim, other }) => claim === undefined && other === null)
  const suitable = claimed.length > 0 ? claimed : free
  const here = suitable.filter(({ source }) => isSamePlace(source.dataDirectory, cwd))
  const [only, another] = here.length > 0 ? here : suitable
  if (only !== undefined && another === undefined) return only.room
  if (only === undefined) throw noneFor(systemIdentifier, cwd, candidates)
  throw new NexusError(
    'usage',
    'wal_source_ambiguous',
    `several sources could take the WAL of system ${systemIdentifier}: ${suitable.map(({ source }) => source.name).join(', ')}`,
    { hint: 'name one in archive_command: nexus-backup pitr archive --source NAME %p' },
  )
}

async function namedRoom(settings: Settings, name: string): Promise<SourceRoom> {
  const source = configuredSource(settings, name)
  if (source !== undefined) return roomOf(source)
  const [repository, another] = settings.repositories
  const names = clusterSources(settings).map(candidate => candidate.name)
  // Without a configured source the repository alone must be plain: --repo DIR --source NAME.
  if (repository !== undefined && another === undefined && settings.sources.length === 0) {
    return (await openRepository(repository)).source(name)
  }
  const meant = nearest(name, names)
  throw new NexusError('configuration', 'wal_source_unknown', `no source '${name}' of kind postgres is configured`, {
    hint: meant === undefined ? `the sources are: ${names.join(', ')}` : `did you mean '${meant}'?`,
  })
}

export async function roomOf(source: PostgresSourceSettings): Promise<SourceRoom> {
  return (await openRepository(source.repository)).source(source.name)
}

function noDataDirectory(cwd: string): NexusError {
  return new NexusError('usage', 'no_data_directory', `${cwd} is not a data directory: it has no global/pg_control`, {
    hint: 'run it in the data directory, as PostgreSQL does, or name the source with --source NAME',
  })
}

function noClusters({ file }: Settings): NexusError {
  return new NexusError(
    'configuration',
    'wal_source_unknown',
    `no source of kind postgres is configured${file === null ? '' : ` in ${file}`}`,
    { hint: 'add one (nexus-backup-config(5)), or give --repo DIR --source NAME' },
  )
}

interface Candidate {
  source: PostgresSourceSettings
  claim: { system_identifier: string | null } | undefined
  other: string | null
}

function noneFor(systemIdentifier: string, cwd: string, candidates: readonly Candidate[]): NexusError {
  const whose = candidates.map(({ source, claim, other }) => {
    return `${source.name} is ${claim === undefined ? `for ${other}` : `of system ${claim.system_identifier}`}`
  })
  const unclaimed = candidates.find(({ claim }) => claim === undefined)
  const name = (unclaimed ?? candidates[0])?.source.name ?? 'NAME'
  const hint =
    unclaimed === undefined
      ? `after pg_upgrade or initdb take a full backup of the new system: nexus-backup create ${name} --adopt; another cluster needs a source of its own`
      : `another cluster needs a source of its own; where ${name} is meant, correct its data_directory or connection, or name it in archive_command: nexus-backup pitr archive --source ${name} %p`
  const message = `no source is for the WAL of system ${systemIdentifier} in ${cwd}: ${whose.join(', ')}`
  return new NexusError('refused', 'wal_foreign', message, { hint })
}
