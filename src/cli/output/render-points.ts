import type { PointsResult } from '../../operations/results.js'
import { humanTime } from './format.js'
import { table } from './table.js'

/** The instants, in the zone and in UTC for pasting, then the windows. */
export function renderPoints(result: PointsResult, zone: string): string {
  const rows = result.points.map(({ id, at }) => [humanTime(at, zone), at, id])
  const points = rows.length === 0 ? '' : table([{ title: 'POINT' }, { title: 'UTC' }, { title: 'BACKUP' }], rows)
  const windows = result.windows.map(({ from, to }) => `every instant from ${from} to ${to}\n`)
  return [points, ...windows].join('')
}
