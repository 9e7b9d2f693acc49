import type { RepositorySettings, Settings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'

/** The one repository that is to be changed. @throws NexusError usage when there are several or none */
export function onlyRepository({ repositories }: Settings): RepositorySettings {
  const [repository, another] = repositories
  if (repository !== undefined && another === undefined) return repository
  const names = repositories.map(({ path }) => `--repo ${path}`).join(' or ')
  throw new NexusError('usage', 'repository_ambiguous', 'which repository is meant must be said', {
    hint: names === '' ? 'add --repo DIR' : `add ${names}`,
  })
}
