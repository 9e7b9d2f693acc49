const MiB = 1024 * 1024

/** Parts that an upload may have (S3). */
const PARTS = 10_000

/**
 * Bytes of an upload's parts by their number, from 1. Small ones first, so that little memory is taken by most backups;
 * then growing, so that 10,000 parts hold 1.5 TB although never more than two of them are in memory at the largest.
 */
const steps: readonly { parts: number; bytes: number }[] = [
  { parts: 500, bytes: 8 * MiB },
  { parts: 500, bytes: 16 * MiB },
  { parts: 500, bytes: 32 * MiB },
  { parts: 500, bytes: 64 * MiB },
  { parts: PARTS - 2000, bytes: 160 * MiB },
]

/** Bytes of part `number`, from 1; undefined when an upload can have no such part. */
export function partSize(number: number): number | undefined {
  let first = 1
  for (const { parts, bytes } of steps) {
    if (number < first + parts) return bytes
    first += parts
  }
  return undefined
}

/** Bytes that may be on their way while the next part is filled. */
const IN_FLIGHT = 16 * MiB

/** How many parts of this size may be on their way while the next one is filled; 0 for the largest. */
export function partsInFlight(bytes: number): number {
  if (bytes > 64 * MiB) return 0
  return Math.max(1, Math.floor(IN_FLIGHT / bytes))
}

/** Bytes that the largest object can have. */
export const largestObject = steps.reduce((sum, { parts, bytes }) => sum + parts * bytes, 0)
