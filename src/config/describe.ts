import { formatDuration } from './duration.js'
import { describeEncryption } from './encryption.js'
import type { KeepPolicy, RepositorySettings, Settings, SourceSettings } from './settings.js'

/** The settings in effect in the form of a configuration file, every default filled in. */
export interface DescribedSettings {
  timezone: string
  state: string
  repositories: Record<string, Record<string, unknown>>
  sources: Record<string, Record<string, unknown>>
}

/** Settings as `config show` prints them: a valid configuration of the same meaning. */
export function describeSettings(settings: Settings): DescribedSettings {
  return {
    timezone: settings.timezone,
    state: settings.stateDirectory,
    repositories: Object.fromEntries(
      settings.repositories.map(repository => [repository.name, describeRepository(repository)]),
    ),
    sources: Object.fromEntries(settings.sources.map(source => [source.name, describeSource(source)])),
  }
}

function describeRepository({ path, encryption }: RepositorySettings): Record<string, unknown> {
  return { path, ...(encryption === undefined ? {} : { encryption: describeEncryption(encryption) }) }
}

function describeSource(source: SourceSettings): Record<string, unknown> {
  return {
    ...describeContent(source),
    repository: source.repository.name,
    ...(source.service === null ? {} : { service: source.service }),
    keep: describeKeep(source.keep),
    chain: {
      max_age: formatDuration(source.chain.maxAge),
      max_length: source.chain.maxLength,
      max_ratio: source.chain.maxRatio,
    },
    digest: source.digestAlgorithm,
  }
}

/** What is protected, in the keys of its kind. */
function describeContent(source: SourceSettings): Record<string, unknown> {
  const { kind, checks } = source
  if (kind === 'sqlite') return { kind, path: source.path, checks }
  if (kind === 'files') return { kind, paths: source.paths, exclude: source.exclude, include: source.include }
  const { connection, dataDirectory, binDirectory } = source
  return {
    kind,
    connection,
    ...(dataDirectory === null ? {} : { data_directory: dataDirectory }),
    ...(binDirectory === null ? {} : { bin_directory: binDirectory }),
    checks,
  }
}

function describeKeep({ within, pitr, ...counts }: KeepPolicy): Record<string, unknown> {
  return {
    ...counts,
    ...(within === undefined ? {} : { within: formatDuration(within) }),
    ...(pitr === undefined ? {} : { pitr: formatDuration(pitr) }),
  }
}
