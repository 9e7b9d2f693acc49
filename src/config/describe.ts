import { formatDuration } from './duration.js'
import type { KeepPolicy, Settings, SourceSettings } from './settings.js'

/** The settings in effect in the form of a configuration file, every default filled in. */
export interface DescribedSettings {
  timezone: string
  state: string
  repositories: Record<string, { path: string }>
  sources: Record<string, Record<string, unknown>>
}

/** Settings as `config show` prints them: a valid configuration of the same meaning. */
export function describeSettings(settings: Settings): DescribedSettings {
  return {
    timezone: settings.timezone,
    state: settings.stateDirectory,
    repositories: Object.fromEntries(settings.repositories.map(({ name, path }) => [name, { path }])),
    sources: Object.fromEntries(settings.sources.map(source => [source.name, describeSource(source)])),
  }
}

function describeSource(source: SourceSettings): Record<string, unknown> {
  return {
    kind: source.kind,
    path: source.path,
    repository: source.repository.name,
    checks: source.checks,
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

function describeKeep(keep: KeepPolicy): Record<string, unknown> {
  return keep.within === undefined ? { ...keep } : { ...keep, within: formatDuration(keep.within) }
}
