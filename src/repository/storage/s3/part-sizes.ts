import { NexusError } from '../../../errors.js'

const MiB = 1024 * 1024

/** Largest part and largest object of S3. */
const LARGEST_PART = 5 * 1024 * MiB
const LARGEST_OBJECT = 5 * 1024 * 1024 * MiB
/** Below this a part costs more in requests than it saves in memory; stores take 5 MiB at least. */
const SMALLEST_CHOSEN = 8 * MiB
const DEFAULT_MAX_PARTS = 10_000
/** Bytes that may be on their way while the next part is filled, as long as that leaves two parts. */
const IN_FLIGHT = 16 * MiB
const LEAST_IN_FLIGHT = 2
/** What a source may grow by while it is read, and what encryption adds. */
const GROWTH = 1.25

/** What a store allows or an operator wants. */
export interface PartLimits {
  /** Bytes; undefined: chosen by the size of the source. */
  partSize?: number | undefined
  /** Parts that an upload may have; 10,000 on AWS, 1,000 on Scaleway. */
  maxParts?: number | undefined
  /** Parts on their way at the same time. */
  concurrency?: number | undefined
}

/** How the objects of one backup are uploaded: in parts of one size, which Cloudflare R2 insists on. */
export interface PartLayout {
  /** Bytes of every part but the last. */
  bytes: number
  maxParts: number
  /** Parts on their way while the next one is filled. */
  inFlight: number
}

/**
 * Chooses the parts of uploads before anything is read.
 *
 * @param expected bytes of the source, the most that one object of its backup can have
 * @throws NexusError refused `object_too_large` when no upload could hold it
 */
export function partLayout(
  expected: number,
  { partSize, maxParts = DEFAULT_MAX_PARTS, concurrency }: PartLimits,
): PartLayout {
  const wanted = Math.ceil((expected * GROWTH) / maxParts / MiB) * MiB
  const bytes = partSize ?? Math.max(SMALLEST_CHOSEN, wanted)
  if (bytes > LARGEST_PART || expected > LARGEST_OBJECT)
    throw tooLarge(expected, `no object holds more than 5 TiB, in ${maxParts} parts of 5 GiB`)
  if (expected > bytes * maxParts) {
    throw tooLarge(
      expected,
      `${maxParts} parts of ${bytes / MiB} MiB hold ${Math.floor((bytes * maxParts) / MiB)} MiB`,
      wanted,
    )
  }
  return { bytes, maxParts, inFlight: concurrency ?? Math.max(LEAST_IN_FLIGHT, Math.floor(IN_FLIGHT / bytes)) }
}

function tooLarge(expected: number, why: string, wanted?: number): NexusError {
  const size = `${Math.ceil(expected / MiB)} MiB`
  return new NexusError(
    'refused',
    'object_too_large',
    `the source has ${size}, and one upload cannot hold it: ${why}`,
    {
      hint:
        wanted === undefined
          ? 'split the source, raise max_parts if the store allows more, or use a directory as its repository'
          : `leave part_size out of the configuration, or set it to ${wanted / MiB}MiB or more`,
    },
  )
}
