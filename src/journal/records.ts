import type { Link } from './links.js'
import type { ProcessMark } from './processes.js'
import type { JournalRecord } from './types.js'

/**
 * Joins beginnings with their ends, oldest first.
 * @param lives whether the process that began an operation on this host is still at it
 */
export function recordsOf(
  links: readonly Link[],
  host: string,
  lives: (mark: ProcessMark) => boolean,
): JournalRecord[] {
  const ends = new Map(links.filter(({ event }) => event === 'end').map(link => [link.begun, link]))
  return links
    .filter(({ event }) => event === 'begin')
    .map(begin => {
      const end = ends.get(begin.sequence)
      const isRunning =
        begin.host === host && end === undefined && lives({ pid: begin.pid, start: begin.process_start })
      return {
        sequence: begin.sequence,
        operation: begin.operation ?? '',
        source: begin.source,
        backup: end?.backup ?? null,
        repository: begin.repository,
        operator: { user: begin.user, sudo_user: begin.sudo_user },
        host: begin.host,
        started_at: begin.at,
        ended_at: end?.at ?? null,
        result: end?.result ?? (isRunning ? 'running' : 'interrupted'),
        error: end?.error ?? null,
      }
    })
}
