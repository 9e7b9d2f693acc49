import { NexusError } from '../errors.js'
import { checksumsLimit, formatChecksums, parseChecksums } from './checksums.js'
import { checksumsFile, repositoryFile } from './layout.js'
import { rootFileLimit, sha256Of } from './root-files.js'
import { recoveryFiles } from './root-making.js'
import type { Storage } from './storage/storage.js'

/** What `// edition N` near the beginning of a recover.mjs says; before there were editions it said nothing. */
const editionPattern = /^\/\/ edition (\d{1,6})$/m

/**
 * Puts this program's RECOVER.txt and recover.mjs in the place of older ones in a repository's root: those may not know
 * how to open what is encrypted from now on. A recover.mjs of a later edition stays. The root's SHA256SUMS comes last and
 * keeps its line for nexus-backup.json, whose damage it would hide otherwise; a renewal that was interrupted before it is
 * finished by the next one.
 * @throws NexusError damage when the root's SHA256SUMS cannot be read, and what writing throws: see `isKept`
 */
export async function renewRecovery(storage: Storage): Promise<void> {
  const ours = await recoveryFiles()
  const present = new Map<string, Buffer>()
  for (const name of ours.keys()) {
    const bytes = await orNone(storage.readSmall(name, rootFileLimit))
    if (bytes !== undefined) present.set(name, bytes)
  }
  if (editionOf(present.get('recover.mjs')) > editionOf(ours.get('recover.mjs'))) return
  const sums = parseChecksums(await storage.readSmall(checksumsFile, checksumsLimit), checksumsFile)
  const wanted = new Map([...ours].map(([name, bytes]) => [name, sha256Of(bytes)]))
  const old = [...ours].filter(([name, bytes]) => present.get(name)?.equals(bytes) !== true)
  const isSummed = [...wanted].every(([name, sum]) => sums.get(name) === sum)
  if (old.length === 0 && isSummed) return
  for (const [name, bytes] of old) await storage.replace(name, bytes)
  const kept = sums.get(repositoryFile)
  const all = new Map([...wanted, ...(kept === undefined ? [] : [[repositoryFile, kept] as const])])
  await storage.replace(checksumsFile, Buffer.from(formatChecksums(all)))
}

/** Whether an error of `renewRecovery` says that the store does not let anybody replace a file: append-only ones. */
export function isKept(error: unknown): boolean {
  const codes = ['access_denied', 'repository_read_only', 'repository_permission']
  return error instanceof NexusError && codes.includes(error.code)
}

function editionOf(script: Buffer | undefined): number {
  return Number(editionPattern.exec(script?.toString('utf8') ?? '')?.[1] ?? 0)
}

async function orNone(reading: Promise<Buffer>): Promise<Buffer | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'not-found' || error.kind === 'damage')) return undefined
    throw error
  }
}
