import { createHash, randomBytes } from 'node:crypto'
import { bytesOfName } from '../../system/file-names.js'

/** So many names are remembered; whoever restores in place over a backup that left out more is told that they are not known. */
const REMEMBERED = 1000

/**
 * What a backup should hold and does not, for a restore in place, which must not take it away. The names themselves stand
 * in no manifest.
 */
export interface LeftOut {
  salt: string
  digests: string[]
  /** There was more than is remembered. */
  more: boolean
}

/** What of a number of real paths a manifest keeps; null where there are none. */
export function leftOutOf(locations: ReadonlySet<string>): LeftOut | null {
  if (locations.size === 0) return null
  const salt = randomBytes(8).toString('hex')
  const digests = [...locations].slice(0, REMEMBERED).map(location => digestOf(salt, location))
  return { salt, digests, more: locations.size > REMEMBERED }
}

/** Whether a real path was left out. @param fact as a manifest has it: input from outside */
export function wasLeftOut(fact: unknown): (location: string) => boolean {
  if (typeof fact !== 'object' || fact === null) return () => false
  const { salt, digests } = fact as { salt?: unknown; digests?: unknown }
  if (typeof salt !== 'string' || !Array.isArray(digests)) return () => false
  const known = new Set<unknown>(digests)
  return location => known.has(digestOf(salt, location))
}

function digestOf(salt: string, location: string): string {
  return createHash('sha256')
    .update(bytesOfName(`${salt}\0${location}`))
    .digest('hex')
    .slice(0, 32)
}
