import { NexusError } from '../errors.js'
import { checksumsLimit, formatChecksums, parseChecksums } from './checksums.js'
import { checksumsFile, repositoryFile } from './layout.js'
import type { SignedFiles } from './recovery-signature.js'
import { sha256Of } from './root-files.js'
import { recoveryFiles } from './root-making.js'
import { editionOf, isLater, isUnknown, presentFiles } from './root-trust.js'
import type { Storage } from './storage/storage.js'

/**
 * Puts this program's RECOVER.txt and recover.mjs in the place of older ones in a repository's root, which may not know how to
 * open what is encrypted from now on, and of those that are nobody's. A recover.mjs of a later edition stays, unless its
 * number is absurd or the repository has keys and no host that counts has signed it. The root's SHA256SUMS comes last and keeps its line
 * for nexus-backup.json, whose damage it would hide otherwise; where it cannot be read, that line stays out. A renewal that
 * was interrupted before it is finished by the next one.
 * @param trusted what hosts that count have signed; null in a repository without keys. Asked only where there is a later one
 * @returns whether anything was written
 * @throws NexusError what writing throws: see `isKept`
 */
export async function renewRecovery(
  storage: Storage,
  trusted: () => Promise<readonly SignedFiles[] | null>,
): Promise<boolean> {
  const ours = await recoveryFiles()
  const [present, sums] = await Promise.all([presentFiles(storage, [...ours.keys()]), rootChecksums(storage)])
  if (await isKeptLater(ours, present, trusted)) return false
  const wanted = new Map([...ours].map(([name, bytes]) => [name, sha256Of(bytes)]))
  const old = [...ours].filter(([name, bytes]) => present.get(name)?.equals(bytes) !== true)
  const isSummed = [...wanted].every(([name, sum]) => sums.get(name) === sum)
  if (old.length === 0 && isSummed) return false
  for (const [name, bytes] of old) await storage.replace(name, bytes)
  const kept = sums.get(repositoryFile)
  const all = new Map([...wanted, ...(kept === undefined ? [] : [[repositoryFile, kept] as const])])
  await storage.replace(checksumsFile, Buffer.from(formatChecksums(all)))
  return true
}

async function isKeptLater(
  ours: ReadonlyMap<string, Buffer>,
  present: ReadonlyMap<string, Buffer>,
  trusted: () => Promise<readonly SignedFiles[] | null>,
): Promise<boolean> {
  const script = present.get('recover.mjs')
  if (!isLater(editionOf(script), editionOf(ours.get('recover.mjs')))) return false
  const signed = await trusted()
  return signed === null || !isUnknown('recover.mjs', script, signed)
}

/** The root's SHA256SUMS; empty where it is missing or damaged. */
async function rootChecksums(storage: Storage): Promise<Map<string, string>> {
  try {
    return parseChecksums(await storage.readSmall(checksumsFile, checksumsLimit), checksumsFile)
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'damage' || error.kind === 'not-found')) return new Map()
    throw error
  }
}

/** Whether an error of `renewRecovery` says that the store does not let anybody replace a file: append-only ones. */
export function isKept(error: unknown): boolean {
  const codes = ['access_denied', 'repository_read_only', 'repository_permission']
  return error instanceof NexusError && codes.includes(error.code)
}
