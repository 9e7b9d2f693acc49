import { NexusError } from '../../errors.js'
import { historyName, type Lsn, parseLsn } from './wal-names.js'

/** A timeline that another one came from, and the position at which it was left. */
export interface Ancestor {
  timeline: number
  until: Lsn
}

/**
 * Reads a timeline history file: the ancestors of a timeline, oldest first (PostgreSQL timeline.c, readTimeLineHistory).
 * Everything after `#` and empty lines are passed over.
 * @throws NexusError damage when a line says nothing, or the ancestors are not in order
 */
export function parseTimelineHistory(text: string, timeline: number): Ancestor[] {
  const ancestors: Ancestor[] = []
  for (const line of text.split('\n')) {
    const words = line.replace(/#.*/, '').trim()
    if (words === '') continue
    const [, id, position] = /^(\d{1,10})\s+([0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8})(?:\s|$)/.exec(words) ?? []
    const until = position === undefined ? undefined : parseLsn(position)
    if (id === undefined || until === undefined) throw damaged(timeline, 'a line names no timeline with a position')
    const previous = ancestors.at(-1)
    const parent = Number(id)
    if (parent === 0 || parent >= timeline) throw damaged(timeline, `timeline ${id} cannot be its ancestor`)
    if (previous && (parent <= previous.timeline || until < previous.until)) {
      throw damaged(timeline, 'its lines are not in order')
    }
    ancestors.push({ timeline: parent, until })
  }
  return ancestors
}

function damaged(timeline: number, problem: string): NexusError {
  return new NexusError('damage', 'wal_history_damaged', `${historyName(timeline)} is damaged: ${problem}`)
}
