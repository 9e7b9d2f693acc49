/** Nanoseconds since 1970 as seconds, cut to the microsecond, which is what a file can be given again. */
export function secondsOf(nanoseconds: bigint): number {
  const cut = nanoseconds / 1000n
  return Number(nanoseconds < 0n && nanoseconds % 1000n !== 0n ? cut - 1n : cut) / 1e6
}

/**
 * A time as the functions of node:fs take it, who set it to the microsecond and cut off the rest. They take a negative
 * number for none and set the time of the call; in digits it is a time before 1970.
 *
 * @param seconds since 1970, with a fraction
 */
export function fsTime(seconds: number): number | string {
  const micros = Math.round(seconds * 1e6)
  // Half a microsecond further from 1970, so that cutting off gives this one.
  const value = (micros + (micros < 0 ? -0.5 : 0.5)) / 1e6
  return value < 0 ? String(value) : value
}

/** Milliseconds by which the times of a file and of its copy may differ: they are set to the microsecond, from a double. */
export const TIME_ERROR_MS = 2e-3
