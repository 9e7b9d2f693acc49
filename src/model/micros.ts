/** Microseconds since 1970 UTC: the precision of PostgreSQL's clock. A bigint, so that milliseconds are never taken for it. */
export type Micros = bigint

const PER_MILLISECOND = 1000n

/** The first microsecond of a millisecond since 1970 UTC. */
export function microsOf(milliseconds: number): Micros {
  return BigInt(Math.floor(milliseconds)) * PER_MILLISECOND
}

/** The last microsecond of a millisecond: what was noted in milliseconds happened not after it. */
export function endOfMillisecond(milliseconds: number): Micros {
  return microsOf(milliseconds) + PER_MILLISECOND - 1n
}

/** The millisecond that a microsecond lies in. */
export function millisecondsOf(at: Micros): number {
  const rest = ((at % PER_MILLISECOND) + PER_MILLISECOND) % PER_MILLISECOND
  return Number((at - rest) / PER_MILLISECOND)
}

/** ISO 8601 UTC with six digits, as every time of a transaction is printed: `2025-11-03T05:31:00.123456Z`. */
export function isoMicros(at: Micros): string {
  const milliseconds = millisecondsOf(at)
  const date = new Date(milliseconds)
  // A server's clock can be set to any year.
  if (Number.isNaN(date.getTime())) return `${at} microseconds since 1970 UTC`
  const digits = String(at - microsOf(milliseconds)).padStart(3, '0')
  return date.toISOString().replace('Z', `${digits}Z`)
}

/** As `isoMicros`, with three digits where the rest is zero: how a time of the operator's is repeated to them. */
export function isoShort(at: Micros): string {
  return isoMicros(at).replace(/(\.\d{3})000Z$/, '$1Z')
}
