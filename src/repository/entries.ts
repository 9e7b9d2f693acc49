import { errnoOf, messageOf, NexusError } from '../errors.js'
import { checksumsLimit, parseChecksums } from './checksums.js'
import { checksumsFile, isBackupId, manifestFile, partialPrefix } from './layout.js'
import type { Manifest } from './manifest.js'
import { checkAgainstSums, checkManifest, checkManifestDigest, manifestLimit } from './manifest-read.js'
import { mapParallel } from './parallel.js'
import type { SmallFiles } from './small-files.js'
import type { Entry } from './types.js'

/** Backups read at the same time. */
const readers = 16

/**
 * Every backup directory of a source: good ones by sequence, then damaged, then partial ones, each by id.
 * Damage is an entry with a sentence, never an exception; what cannot be read for want of permission is one.
 */
export async function readEntries(storage: SmallFiles, source: string): Promise<Entry[]> {
  const found = await storage.list(source)
  const backups = found.filter(({ name }) => isBackupId(name))
  const entries = await mapParallel(backups, readers, ({ name, kind }) =>
    kind === 'directory' ? readEntry(storage, source, name) : notADirectory(name),
  )
  const present = entries.some(entry => entry.status === 'damaged')
    ? await withoutVanished(storage, source, entries)
    : entries
  const partial = found
    .filter(({ name, kind }) => kind === 'directory' && name.startsWith(partialPrefix))
    .map(({ name }) => name.slice(partialPrefix.length))
    .filter(isBackupId)
    .map((id): Entry => ({ status: 'partial', id }))
  return [...present, ...partial].sort(byStatusThenAge)
}

/**
 * One backup's manifest, after its bytes were compared with SHA256SUMS.
 * @throws NexusError damage, or not-found when the files are not there
 */
async function readManifest(storage: SmallFiles, source: string, id: string): Promise<Manifest> {
  const directory = `${source}/${id}`
  const sums = await readChecksums(storage, source, id)
  const bytes = await storage.readSmall(`${directory}/${manifestFile}`, manifestLimit)
  checkManifestDigest(bytes, sums, id)
  const manifest = checkManifest(bytes, id, source)
  checkAgainstSums(manifest, sums, id)
  return manifest
}

/** SHA256SUMS of a backup, parsed. Throws `damage`, or `not-found` when it is not there. */
export async function readChecksums(storage: SmallFiles, source: string, id: string): Promise<Map<string, string>> {
  const bytes = await storage.readSmall(`${source}/${id}/${checksumsFile}`, checksumsLimit)
  return parseChecksums(bytes, `${checksumsFile} of ${id}`)
}

async function readEntry(storage: SmallFiles, source: string, id: string): Promise<Entry> {
  try {
    return { status: 'ok', id, manifest: await readManifest(storage, source, id) }
  } catch (error) {
    if (!(error instanceof NexusError) || !isOfThisBackup(error)) throw error
    return { status: 'damaged', id, problem: messageOf(error) }
  }
}

/** Whether an error tells of this backup's own state, so that the others can still be listed. */
function isOfThisBackup(error: NexusError): boolean {
  return error.kind === 'damage' || error.kind === 'not-found' || errnoOf(error.cause) === 'EIO'
}

async function notADirectory(id: string): Promise<Entry> {
  return { status: 'damaged', id, problem: `${id} is not a directory (links are never followed)` }
}

/** A prune beside us renames a backup away between our listing and our reading: that is no damage. */
async function withoutVanished(storage: SmallFiles, source: string, entries: Entry[]): Promise<Entry[]> {
  const present = new Set((await storage.list(source)).map(entry => entry.name))
  return entries.filter(entry => present.has(entry.id))
}

const rank = { ok: 0, damaged: 1, partial: 2 } as const

function byStatusThenAge(a: Entry, b: Entry): number {
  if (a.status === 'ok' && b.status === 'ok' && a.manifest.sequence !== b.manifest.sequence) {
    return a.manifest.sequence - b.manifest.sequence
  }
  return rank[a.status] - rank[b.status] || (a.id < b.id ? -1 : 1)
}
