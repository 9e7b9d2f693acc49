import { resolve } from 'node:path'
import { NexusError } from '../errors.js'
import { nameOfFile, sourceNameProblem } from './names.js'
import { defaultChainPolicy, type RepositorySettings, type SqliteSourceSettings } from './settings.js'

/** `--repo DIR` as a repository. Throws `usage` for an object store, which this version does not know yet. */
export function repositoryFromFlag(repo: string, cwd: string): RepositorySettings {
  if (/^[a-z0-9]+:\/\//i.test(repo)) {
    throw new NexusError(
      'usage',
      'repository_unsupported',
      `repository ${repo}: object stores are not in this version yet`,
      {
        hint: 'give a directory: --repo /var/backups/nexus',
      },
    )
  }
  return { name: 'repo', path: resolve(cwd, repo) }
}

/** `--sqlite FILE [--name NAME]` as a source. Throws `usage` when the name cannot be a source's. */
export function sourceFromFlags(
  flags: { sqlite: string; name: string | undefined },
  repository: RepositorySettings,
  cwd: string,
): SqliteSourceSettings {
  const path = resolve(cwd, flags.sqlite)
  const name = flags.name ?? nameOfFile(path)
  const problem = sourceNameProblem(name)
  if (problem !== undefined) {
    throw new NexusError('usage', 'invalid_source_name', problem, { hint: 'give one with --name NAME' })
  }
  return {
    kind: 'sqlite',
    name,
    path,
    repository,
    checks: [],
    service: null,
    keep: {},
    chain: defaultChainPolicy,
    digestAlgorithm: 'xxh3-128',
  }
}
