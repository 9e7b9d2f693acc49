import { repositoryFromFlag } from '../config/from-flags.js'
import { inEnvironment } from '../config/s3-url.js'
import type { RepositorySettings, Settings } from '../config/settings.js'
import type { CommandIo } from './io.js'

/** Every repository of the configuration. */
export function allRepositories({ repositories, copyRepositories }: Settings): RepositorySettings[] {
  return [...repositories, ...copyRepositories]
}

/**
 * A repository as an operator names it: by its name in the configuration, else as a directory or URL, with the
 * configuration's settings where it is the same place.
 * @throws NexusError usage for what is neither
 */
export function repositoryNamed(settings: Settings, text: string, { cwd, env }: CommandIo): RepositorySettings {
  const known = allRepositories(settings)
  const named = known.find(({ name }) => name === text && settings.file !== null)
  if (named !== undefined) return named
  const asked = repositoryFromFlag(text, cwd)
  return known.find(({ path }) => path === asked.path) ?? inEnvironment(asked, env)
}
