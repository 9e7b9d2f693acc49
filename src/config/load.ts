import { resolve } from 'node:path'
import { NexusError } from '../errors.js'
import { encryptionFromFlags } from './encryption.js'
import { repositoryFromFlag, sourceFromFlags } from './from-flags.js'
import { configurationPlaces, defaultStateDirectory, locateConfiguration, type Surroundings } from './locate.js'
import { checkFile, invalidConfiguration } from './read-file.js'
import { inEnvironment, type S3Environment } from './s3-url.js'
import type { EncryptionSettings, RepositorySettings, Settings, SourceSettings } from './settings.js'
import { sourceOf } from './source-of.js'
import type { ConfigurationDocument } from './validate.js'

/** What the operator said, from flags and environment, and where the run stands. */
export interface LoadRequest extends Surroundings {
  config: string | undefined
  repo: string | undefined
  state: string | undefined
  sqlite: string | undefined
  name: string | undefined
  /** True for what needs neither configuration nor repository. */
  repositoryOptional?: boolean
  keyFile: string | undefined
  passphraseFile: string | undefined
  /** Zone of the system, for a configuration that names none. */
  systemTimezone: string
  /** For what AWS's own programs take from it. */
  env: S3Environment
  warn(message: string): void
}

/**
 * The settings of a run. `--sqlite` stands for a configuration: then a file is read only when `--config` names it,
 * for its timezone, state and repository. `--repo` takes the place of every configured repository.
 * Throws `configuration` with every mistake at once, `usage` for flags that do not fit together.
 */
export function loadSettings(request: LoadRequest): Settings {
  if (request.name !== undefined && request.sqlite === undefined) {
    throw new NexusError('usage', 'name_without_sqlite', '--name goes with --sqlite FILE', {
      hint: 'to choose a source of the configuration, write its name after the command',
    })
  }
  const file =
    request.sqlite !== undefined && request.config === undefined
      ? undefined
      : locateConfiguration(request.config, request)
  const written = file === undefined ? undefined : readConfiguration(file, request)
  const bare = written === undefined && request.repo === undefined
  if (bare && request.repositoryOptional !== true) throw nothingKnown(request)
  const asked = encryptionFromFlags(request)
  const repositories = chosenRepositories(written, request).map(repository => withEncryption(repository, asked))
  const sources =
    request.sqlite === undefined || bare
      ? configuredSources(written, repositories, {
          copies: request.repo === undefined ? repositories : [],
          file: file ?? null,
        })
      : [flagSource(request.sqlite, repositories, request)]
  return {
    timezone: written?.timezone ?? request.systemTimezone,
    stateDirectory: stateDirectory(written, request),
    ...divided(repositories, sources),
    sources,
    means: [...(asked?.recipients ?? []), ...repositories.flatMap(({ encryption }) => encryption?.recipients ?? [])],
    file: file ?? null,
  }
}

/** Which repositories are read, and which serve for copies alone. */
function divided(
  repositories: readonly RepositorySettings[],
  sources: readonly SourceSettings[],
): Pick<Settings, 'repositories' | 'copyRepositories'> {
  const own = new Set(sources.map(({ repository }) => repository.name))
  const copied = (name: string) =>
    sources.filter(({ copies }) => copies.some(({ repository }) => repository.name === name)).map(source => source.name)
  const isRead = ({ name }: RepositorySettings) => own.has(name) || copied(name).length === 0
  return {
    repositories: repositories.filter(isRead).map(place => {
      const copyOf = new Set(copied(place.name))
      return copyOf.size === 0 ? place : { ...place, copyOf }
    }),
    copyRepositories: repositories.filter(place => !isRead(place)),
  }
}

function readConfiguration(file: string, request: LoadRequest): ConfigurationDocument {
  const checked = checkFile(file, request.uid)
  if (checked.problems.length > 0) throw invalidConfiguration(file, checked.problems)
  for (const warning of checked.warnings) request.warn(warning)
  return checked.settings
}

function nothingKnown(request: LoadRequest): NexusError {
  if (request.sqlite !== undefined) {
    return new NexusError('usage', 'repository_missing', '--sqlite needs a repository', { hint: 'add --repo DIR' })
  }
  const places = configurationPlaces(request).join(' nor ')
  return new NexusError('configuration', 'configuration_missing', `no configuration: neither ${places} exists`, {
    hint: 'write one (see nexus-backup-config(5)), name one with --config FILE, or give --sqlite FILE --repo DIR',
  })
}

function chosenRepositories(written: ConfigurationDocument | undefined, request: LoadRequest): RepositorySettings[] {
  const configured = written?.repositories ?? []
  if (request.repo === undefined) return configured.map(repository => inEnvironment(repository, request.env))
  const asked = repositoryFromFlag(request.repo, request.cwd)
  return [inEnvironment(configured.find(repository => repository.path === asked.path) ?? asked, request.env)]
}

/** A key on the command line says that the repository is to be an encrypted one. */
function withEncryption(repository: RepositorySettings, asked: EncryptionSettings | undefined): RepositorySettings {
  return asked === undefined || repository.encryption !== undefined ? repository : { ...repository, encryption: asked }
}

function stateDirectory(written: ConfigurationDocument | undefined, request: LoadRequest): string {
  if (request.state !== undefined) return resolve(request.cwd, request.state)
  return written?.state ?? defaultStateDirectory(request)
}

function flagSource(sqlite: string, repositories: RepositorySettings[], request: LoadRequest): SourceSettings {
  const [repository, another] = repositories
  if (repository === undefined || another !== undefined) {
    throw new NexusError('usage', 'repository_missing', '--sqlite needs one repository', { hint: 'add --repo DIR' })
  }
  return sourceFromFlags({ sqlite, name: request.name }, repository, request.cwd)
}

function configuredSources(
  written: ConfigurationDocument | undefined,
  repositories: RepositorySettings[],
  around: { copies: RepositorySettings[]; file: string | null },
): SourceSettings[] {
  return (written?.sources ?? []).flatMap(({ name, value }) => {
    const repository = repositories.find(candidate => candidate.name === value.repository) ?? repositories[0]
    if (repository === undefined) return []
    return [sourceOf(name, value, { repository, ...around })]
  })
}
