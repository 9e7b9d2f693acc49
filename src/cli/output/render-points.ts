import type { PointsResult } from '../../operations/results.js'
import { exactTime, humanDuration } from './format.js'
import { table } from './table.js'

/**
 * The instants, in the zone and in UTC for pasting, then the ranges in which every instant can be restored: on the timeline that
 * is followed, and on others that only `--timeline` reaches.
 */
export function renderPoints(result: PointsResult, zone: string): string {
  const points = result.points.map(({ id, at }) => [exactTime(at, zone), at, id])
  const { windows, branches = [], of_damaged: ofDamaged = [], breaks = [] } = result
  const parts = [
    points.length === 0 ? '' : table([{ title: 'POINT' }, { title: 'UTC' }, { title: 'BACKUP' }], points),
    windowTable('EVERY INSTANT FROM', windows, zone),
    windowTable('WITH --timeline, FROM', branches, zone),
    windowTable('WITH --allow-damaged, FROM', ofDamaged, zone),
  ]
  parts.push(breaks.map(one => `${breakLine(one, zone)}\n`).join(''))
  return parts.filter(part => part !== '').join('\n')
}

function breakLine(
  { reason, timeline, lsn, from = '', to = '' }: NonNullable<PointsResult['breaks']>[number],
  zone: string,
): string {
  const place = `at ${lsn} on timeline ${timeline}`
  if (reason === 'wal_level_minimal') {
    return `the server was started with wal_level=minimal ${place}: no recovery goes past that, only a later backup`
  }
  if (reason === 'wal_damaged') return `the WAL is damaged ${place}: no recovery goes past that, only a later backup`
  const times = `what was committed from ${exactTime(from, zone)} (${from}) to ${exactTime(to, zone)} (${to})`
  return `the server's clock was set back ${place}: ${times} is reached by --xid and --lsn, not by a time`
}

function windowTable(title: string, windows: PointsResult['windows'], zone: string): string {
  if (windows.length === 0) return ''
  const rows = windows.map(({ from, to, timeline }) => [
    exactTime(from, zone),
    exactTime(to, zone),
    humanDuration(Date.parse(to) - Date.parse(from)),
    from,
    to,
    timeline === undefined ? '' : String(timeline),
  ])
  return table([{ title }, ...windowColumns], rows)
}

const windowColumns = [
  { title: 'TO' },
  { title: 'LENGTH', align: 'right' },
  { title: 'UTC FROM' },
  { title: 'UTC TO' },
  { title: 'TIMELINE' },
] as const
