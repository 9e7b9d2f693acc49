import type { Journal } from '../../journal/types.js'
import type { Paint } from './colour.js'
import { humanTime } from './format.js'
import { table } from './table.js'

type Reading = ReturnType<Journal['read']>

/** Who did what and when, and whether the journal is whole. */
export function renderJournal(
  records: Reading['records'],
  chain: Reading['chain'],
  { zone, paint }: { zone: string; paint: Paint },
): string {
  const rows = records.map(record => {
    const { user, sudo_user } = record.operator
    return [
      String(record.sequence),
      humanTime(record.started_at, zone),
      sudo_user === null ? user : `${sudo_user} as ${user}`,
      record.operation,
      record.source ?? '',
      record.result,
      record.backup ?? record.error ?? '',
    ]
  })
  const body = rows.length === 0 ? 'nothing recorded\n' : table(columns, rows)
  const state = chain.ok
    ? paint.good('the chain of the journal is whole')
    : paint.bad(`the journal was changed: ${chain.problem}`)
  return `${body}${state}\n`
}

const columns = [
  { title: 'NO', align: 'right' },
  { title: 'STARTED' },
  { title: 'WHO' },
  { title: 'WHAT' },
  { title: 'SOURCE' },
  { title: 'RESULT' },
  { title: 'BACKUP OR ERROR' },
] as const
