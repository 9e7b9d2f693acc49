import { readFile } from 'node:fs/promises'
import { NexusError } from '../errors.js'
import { formatChecksums } from './checksums.js'
import { newDescription } from './description.js'
import { checksumsFile, partialPrefix, quoted, repositoryFile } from './layout.js'
import { rootFileLimit, sha256Of } from './root-files.js'
import type { Storage } from './storage/storage.js'

const recoveryNames = ['RECOVER.txt', 'recover.mjs'] as const
/** What an interrupted init leaves, and what a fresh ext4 file system holds. */
const harmless: ReadonlySet<string> = new Set([...recoveryNames, checksumsFile, 'lost+found'])

/** Throws `refused` when a directory holds anything but what an interrupted init left. */
export function assertMayBecomeRoot(names: string[], location: string): void {
  const foreign = names.find(name => !mayLieInNewRoot(name))
  if (foreign !== undefined) throw notEmpty(location, foreign)
}

/** Whether a name may lie in a directory that becomes a repository. */
export function mayLieInNewRoot(name: string): boolean {
  return harmless.has(name) || name.startsWith(partialPrefix)
}

/**
 * Writes the root's own files; nexus-backup.json comes last: what has it is complete. Two that do this at once
 * end with the description of one of them and the checksums that belong to it.
 * @param locking how writers exclude each other, where it is not the usual way of the store
 */
export async function writeRoot(storage: Storage, now: Date, locking?: string): Promise<void> {
  const files = await recoveryFiles()
  for (const [name, bytes] of files) await storage.replace(name, bytes)
  const description = newDescription(now, locking)
  await storage.replace(checksumsFile, checksumsOf(files, description))
  const written = await winningDescription(storage, description)
  if (!written.equals(description)) await storage.replace(checksumsFile, checksumsOf(files, written))
}

/** What tells in a repository's root how to recover without this program, by name. */
export async function recoveryFiles(): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  for (const name of recoveryNames) files.set(name, await readFile(new URL(`recovery/${name}`, import.meta.url)))
  return files
}

/** Ours, or that of another init which was faster. */
async function winningDescription(storage: Storage, ours: Buffer): Promise<Buffer> {
  try {
    await storage.writeOnce(repositoryFile, ours)
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'exists') throw error
  }
  return storage.readSmall(repositoryFile, rootFileLimit)
}

function checksumsOf(files: ReadonlyMap<string, Buffer>, description: Buffer): Buffer {
  const all = [...files, [repositoryFile, description] as const]
  return Buffer.from(formatChecksums(new Map(all.map(([name, bytes]) => [name, sha256Of(bytes)]))))
}

function notEmpty(location: string, name: string): NexusError {
  return new NexusError(
    'refused',
    'not_a_repository',
    `${location} is not empty and no repository: it holds ${quoted(name)}`,
    {
      hint: 'choose an empty directory, or one that does not exist yet',
    },
  )
}
