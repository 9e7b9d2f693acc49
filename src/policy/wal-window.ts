/** A base backup as retention of WAL sees it. Positions are bytes in the system's log (LSN). */
export interface WalBase {
  id: string
  sequence: number
  /** Captured at, milliseconds since 1970 UTC; NaN where it cannot be read. */
  at: number
  timeline: number
  /** First byte of the segment that recovery from it begins with. */
  start: bigint
  /** Where it is consistent. */
  stop: bigint
  /** First byte of the log that it does not hold itself (`pg_basebackup -X fetch`): the archive must go on from here. */
  held: bigint
  /** It can be restored and is not of a damaged source: only such a one can carry a window. */
  isSound: boolean
}

/** A timeline of which there is WAL. */
export interface WalTimeline {
  timeline: number
  /** The timelines it came from, each with the position at which it was left; empty where no history file tells. */
  ancestors: readonly { timeline: number; until: bigint }[]
  /** When the newest of its segments was archived, milliseconds since 1970 UTC; null where that is not known. */
  lastArchived: number | null
}

/** Whether recovery that begins with the base can go on to the timeline's end. */
export function leadsTo(
  base: Pick<WalBase, 'timeline' | 'stop'>,
  timeline: Omit<WalTimeline, 'lastArchived'>,
): boolean {
  if (base.timeline === timeline.timeline) return true
  return timeline.ancestors.some(({ timeline: ancestor, until }) => ancestor === base.timeline && base.stop <= until)
}

/**
 * The instant that `keep.pitr` reaches back to, counted from now; where nothing at all was captured or archived
 * as late as that, from the newest of what was: a clock that is ahead must not cost a window (`within` does the same).
 * @param evidence instants of captures and of archiving, milliseconds since 1970 UTC
 */
export function windowStart(pitr: number, now: number, evidence: readonly number[]): number {
  const newest = evidence.reduce((latest, at) => (at > latest ? at : latest), -Infinity)
  return Math.min(now, newest === -Infinity ? now : newest) - pitr
}

/** What the window of one timeline's line hangs on. */
export interface Line {
  timeline: number
  /** The newest sound base from before the window, from which every instant in it can be reached. */
  anchor: WalBase | undefined
  /** The oldest sound base inside: it is the anchor one day. */
  next: WalBase | undefined
}

/**
 * The lines of timelines that the window has a part of, each with its bases. A line on which nothing was archived or
 * captured since the window's start (left by a recovery to an earlier instant, or of a system before pg_upgrade) is
 * past, so it has none. One base older than the window is needed (anchors/postgres.md 2.5, barman#274).
 */
export function livingLines(bases: readonly WalBase[], timelines: readonly WalTimeline[], since: number): Line[] {
  const oldestFirst = [...bases].filter(({ isSound }) => isSound).sort((a, b) => a.at - b.at || a.sequence - b.sequence)
  return timelines
    .filter(timeline => isLiving(timeline, bases, since))
    .map(timeline => {
      const leading = oldestFirst.filter(base => leadsTo(base, timeline))
      const anchor = leading.findLast(({ at }) => at <= since)
      return { timeline: timeline.timeline, anchor, next: leading.find(({ at }) => at > since) }
    })
}

function isLiving({ timeline, lastArchived }: WalTimeline, bases: readonly WalBase[], since: number): boolean {
  if (lastArchived === null || lastArchived > since) return true
  return bases.some(base => base.timeline === timeline && !(base.at <= since))
}

/**
 * Bases that the window hangs on, with the reason to keep them. Without the second of each line the first could never
 * be let go where the other rules keep only young bases, and WAL would pile up.
 */
export function basesOfWindow(lines: readonly Line[], since: number): Map<string, string> {
  const from = instantText(since)
  const needed = new Map<string, string>()
  for (const { next } of lines) if (next) needed.set(next.id, `pitr: the window will begin with it, now since ${from}`)
  for (const { anchor } of lines) if (anchor) needed.set(anchor.id, `pitr: the window since ${from} begins with it`)
  return needed
}

/** A window of thousands of years leaves what a Date can say. */
export function instantText(instant: number): string {
  const date = new Date(instant)
  return Number.isNaN(date.getTime()) ? 'ever' : date.toISOString()
}
