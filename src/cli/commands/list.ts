import { NexusError } from '../../errors.js'
import { list } from '../../operations/list.js'
import type { ListResult } from '../../operations/results.js'
import type { Handler, Invocation } from '../invocation.js'
import type { Outcome } from '../outcome.js'
import { renderJournal } from '../output/render-journal.js'
import { renderList } from '../output/render-list.js'
import { switchOption } from '../parsed.js'
import { damagedBackups } from './damaged-backups.js'

/** `list [SOURCE] [--all] [--journal]`, or `list [BACKUP|SOURCE] --files [PATTERN]` */
export const runList: Handler = async invocation => {
  if (invocation.options.files !== undefined) {
    const { runListFiles } = await import('./list-files.js')
    return await runListFiles(invocation)
  }
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
