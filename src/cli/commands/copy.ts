import type { RepositorySettings, Settings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import { copy } from '../../operations/copy.js'
import type { CopyTask } from '../../operations/requests.js'
import { openRepository } from '../../repository/open.js'
import type { Handler, Invocation } from '../invocation.js'
import { renderCopy } from '../output/render-copy.js'
import { switchOption, textOption } from '../parsed.js'
import { repositoryNamed } from '../repositories.js'
import { sourceNamed } from '../sources.js'
import { copyFailures, untrustedCopies } from './copy-failures.js'
import { damagedBackups } from './damaged-backups.js'

/** `copy [SOURCE...] [--to REPO] [--from REPO] [--init]` */
export const runCopy: Handler = async invocation => {
  const settings = await invocation.settings()
  const tasks = await tasksOf(invocation, settings)
  const dryRun = switchOption(invocation.options, 'dry-run')
  const init = switchOption(invocation.options, 'init')
  const result = await copy(await invocation.context(), await invocation.journal(), { tasks, init, dryRun })
  return {
    document: result,
    text: paint => renderCopy(result, paint),
    always: dryRun,
    failures: [
      ...copyFailures(result.failures, tasks.length),
      ...untrustedCopies(result.copies),
      ...damagedBackups(result.copies.flatMap(({ problems }) => problems)),
    ],
  }
}

/** Who is copied from where to where. @throws NexusError usage when there is nowhere to copy to */
async function tasksOf({ options, operands, io }: Invocation, settings: Settings): Promise<CopyTask[]> {
  const from = textOption(options, 'from')
  const to = textOption(options, 'to')
  const origin = from === undefined ? undefined : repositoryNamed(settings, from, io)
  const targets = to === undefined ? undefined : [repositoryNamed(settings, to, io)]
  const sources = await sourcesOf(settings, operands, origin)
  const tasks = sources.flatMap(({ name, repository, copies }) =>
    (targets ?? copies).map(target => ({ source: name, from: repository, to: target })),
  )
  if (tasks.length > 0) return tasks
  throw new NexusError(
    'usage',
    'no_copies',
    'there is nowhere to copy to: no source has copies and --to is not given',
    {
      hint: 'name a repository with --to REPO, or write copies: [NAME] below a source (nexus-backup-config(5))',
    },
  )
}

interface CopiedSource {
  name: string
  repository: RepositorySettings
  copies: RepositorySettings[]
}

/** Without a name: the configured sources, or, where none is, all that the repository holds. */
async function sourcesOf(
  settings: Settings,
  names: readonly string[],
  origin: RepositorySettings | undefined,
): Promise<CopiedSource[]> {
  const configured = settings.sources.map(({ name, repository, copies }) => {
    return { name, repository: origin ?? repository, copies: copies.map(copied => copied.repository) }
  })
  const bare = origin ?? (settings.repositories.length === 1 ? settings.repositories[0] : undefined)
  if (names.length === 0) {
    if (configured.length > 0 || bare === undefined) return configured
    const found = await (await openRepository(bare)).sources()
    return found.map(name => ({ name, repository: bare, copies: [] }))
  }
  return [...new Set(names)].map(name => {
    const known = configured.find(source => source.name === name)
    if (known !== undefined) return known
    if (bare !== undefined) return { name, repository: bare, copies: [] }
    const { repository } = sourceNamed(settings, name)
    return { name, repository, copies: [] }
  })
}
