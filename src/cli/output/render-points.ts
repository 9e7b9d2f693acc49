import type { PointsResult } from '../../operations/results.js'
import { humanDuration, humanTime } from './format.js'
import { table } from './table.js'

/**
 * The instants, in the zone and in UTC for pasting, then the ranges in which every instant can be restored: on the timeline that
 * is followed, and on others that only `--timeline` reaches.
 */
export function renderPoints(result: PointsResult, zone: string): string {
  const points = result.points.map(({ id, at }) => [humanTime(at, zone), at, id])
  const { windows, branches = [] } = result
  const parts = [
    points.length === 0 ? '' : table([{ title: 'POINT' }, { title: 'UTC' }, { title: 'BACKUP' }], points),
    windowTable('EVERY INSTANT FROM', windows, zone),
    windowTable('WITH --timeline, FROM', branches, zone),
  ]
  return parts.filter(part => part !== '').join('\n')
}

function windowTable(title: string, windows: PointsResult['windows'], zone: string): string {
  if (windows.length === 0) return ''
  const rows = windows.map(({ from, to, timeline }) => [
    humanTime(from, zone),
    humanTime(to, zone),
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
