import type { ListResult } from '../../operations/results.js'
import type { Paint } from './colour.js'
import { exactTime, humanBytes, printable } from './format.js'
import { table } from './table.js'

/** The backups as a table, then what is not a whole backup. */
export function renderList(result: ListResult, { zone, paint }: { zone: string; paint: Paint }): string {
  // Many machines may share a bucket; one alone need not be named on every line.
  const hosts = new Set(result.backups.map(({ host }) => host))
  const rows = result.backups.map(backup => [
    ...(hosts.size > 1 ? [backup.host] : []),
    backup.source,
    backup.id,
    exactTime(backup.captured_at, zone),
    backup.type,
    humanBytes(backup.bytes_source),
    humanBytes(backup.bytes_stored),
    notes(backup),
  ])
  const titles = hosts.size > 1 ? [{ title: 'HOST' }, ...columns] : columns
  const backups = rows.length === 0 ? 'no backups\n' : table(titles, rows)
  const problems = result.problems.map(({ source, id, status, problem }) => {
    const mark = status === 'damaged' ? paint.bad(status) : paint.faint(status)
    return `${mark}: ${printable(source)}/${printable(id)}: ${printable(problem)}\n`
  })
  const apart = result.untrusted.map(({ source, id, problem }) => {
    return `${paint.bad('untrusted')}: ${printable(source)}/${printable(id)}: ${printable(problem)}\n`
  })
  return [backups, ...apart, ...problems].join('')
}

const columns = [
  { title: 'SOURCE' },
  { title: 'ID' },
  { title: 'CAPTURED AT' },
  { title: 'TYPE' },
  { title: 'SIZE', align: 'right' },
  { title: 'STORED', align: 'right' },
  { title: 'NOTES' },
] as const

function notes(backup: ListResult['backups'][number]): string {
  const kept = backup.keep_until === null ? [] : [`kept until ${backup.keep_until}`]
  return [
    ...(backup.proven ? ['proven'] : []),
    ...(backup.damaged_source ? ['damaged source'] : []),
    ...(backup.incomplete ? ['incomplete'] : []),
    ...kept,
    ...(backup.label === null ? [] : [JSON.stringify(backup.label)]),
  ].join(', ')
}
