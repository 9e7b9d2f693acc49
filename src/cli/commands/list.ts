import { NexusError } from '../../errors.js'
import { list } from '../../operations/list.js'
import type { ListedProblem, ListResult } from '../../operations/results.js'
import type { Handler, Invocation } from '../invocation.js'
import type { Outcome } from '../outcome.js'
import { counted, firstFew } from '../output/format.js'
import { renderJournal } from '../output/render-journal.js'
import { renderList } from '../output/render-list.js'
import { switchOption } from '../parsed.js'

/** `list [SOURCE] [--all] [--journal]` */
export const runList: Handler = async invocation => {
  if (switchOption(invocation.options, 'journal')) return await listJournal(invocation)
  const settings = await invocation.settings()
  const result: ListResult = await list(await invocation.context(), {
    repositories: settings.repositories,
    source: invocation.operands[0],
    all: switchOption(invocation.options, 'all'),
  })
  return {
    document: result,
    text: paint => renderList(result, { zone: settings.timezone, paint }),
    always: true,
    failures: damagedBackups(result.problems),
  }
}

/** The error of a command that saw damaged backups on its way; empty when it saw none. */
export function damagedBackups(problems: readonly ListedProblem[]): NexusError[] {
  const damaged = problems.filter(problem => problem.status === 'damaged')
  if (damaged.length === 0) return []
  const named = firstFew(damaged.map(({ source, id, problem }) => `${source}/${id} (${problem})`))
  return [
    new NexusError('damage', 'backup_damaged', `${counted(damaged.length, 'backup')} damaged: ${named}`, {
      hint: `'nexus-backup verify' says what else depends on it; it is never removed by itself`,
    }),
  ]
}

async function listJournal(invocation: Invocation): Promise<Outcome> {
  const { stateDirectory, timezone } = await invocation.settings()
  const { records, chain } = (await invocation.journal()).read()
  const [source] = invocation.operands
  const shown = source === undefined ? records : records.filter(record => record.source === source)
  const failures = chain.ok
    ? []
    : [
        new NexusError(
          'damage',
          'journal_chain_broken',
          `the journal in ${stateDirectory} was changed: ${chain.problem}`,
          {
            hint: 'keep a copy of it as evidence; the backups themselves are proven by nexus-backup verify',
          },
        ),
      ]
  return {
    document: { command: 'list', journal: shown, chain },
    text: paint => renderJournal(shown, chain, { zone: timezone, paint }),
    always: true,
    failures,
  }
}
