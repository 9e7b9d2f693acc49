import { resolve } from 'node:path'
import { NexusError } from '../errors.js'
import { nameOfFile, sourceNameProblem } from './names.js'
import { placeFromUrl } from './s3-url.js'
import { defaultChainPolicy, type RepositorySettings, type SqliteSourceSettings } from './settings.js'

/** `--repo DIR` or `--repo s3://BUCKET/PREFIX` as a repository. Throws `usage` for any other URL. */
export function repositoryFromFlag(repo: string, cwd: string): RepositorySettings {
  if (/^s3:\/\//i.test(repo)) return { name: 'repo', ...placeFromUrl(repo) }
  if (/^[a-z0-9]+:\/\//i.test(repo)) {
    throw new NexusError('usage', 'repository_unsupported', `repository ${repo}: there is no such kind of repository`, {
      hint: 'give a directory or a bucket: --repo /var/backups/nexus, or --repo s3://BUCKET/PREFIX',
    })
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
    copies: [],
    checks: [],
    service: null,
    keep: {},
    chain: defaultChainPolicy,
    digestAlgorithm: 'xxh3-128',
  }
}
