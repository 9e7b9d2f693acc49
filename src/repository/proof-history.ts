import type { PastOutcome } from './types.js'

/** How far the clocks of two hosts may lie apart. */
const CLOCKS_APART_MS = 5 * 60_000

/** Whether an instant, ISO 8601, is later than the clocks of two hosts can explain. */
export function isToCome(at: string, now: Date): boolean {
  return Date.parse(at) > now.getTime() + CLOCKS_APART_MS
}

/**
 * What must be kept of a backup's outcomes so that everything that is judged by them stays as it is: of each status and
 * level the newest. Of those of a time to come the first is kept as well, for its time may come.
 *
 * @returns oldest first, 30 at most
 */
export function condense(outcomes: readonly PastOutcome[], now: Date): PastOutcome[] {
  const kept = new Map<string, PastOutcome>()
  for (const { at, status, level, drill } of outcomes) {
    const comes = isToCome(at, now)
    const kind = `${status} ${level} ${comes}`
    const known = kept.get(kind)
    if (known !== undefined && (comes ? isEarlier(known.at, at) : !isEarlier(known.at, at))) continue
    kept.set(kind, { at, status, level, ...(drill === undefined ? {} : { drill }) })
  }
  return [...kept.values()].sort((a, b) => (isEarlier(a.at, b.at) ? -1 : 1))
}

function isEarlier(a: string, b: string): boolean {
  const [first, second] = [Date.parse(a), Date.parse(b)]
  return first === second ? a < b : first < second
}
