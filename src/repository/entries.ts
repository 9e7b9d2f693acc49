import { errnoOf, messageOf, NexusError } from '../errors.js'
import { checksumsLimit, parseChecksums } from './checksums.js'
import { checksumsFile, isBackupId, manifestFile, partialPrefix } from './layout.js'
import type { Manifest } from './manifest.js'
import { checkAgainstSums, checkManifest, checkManifestDigest, manifestLimit } from './manifest-read.js'
import { mapParallel } from './parallel.js'
import type { SmallFiles } from './small-files.js'
import type { StorageEntry } from './storage/storage.js'
import type { Entry } from './types.js'

/** Backups read at the same time. */
const readers = 16

/** Looks at a source, at most: each state that a create or a prune passes through costs one, and each backup has few. */
const LOOKS = 5

/**
 * Every backup directory of a source: good ones by sequence, then damaged, then partial ones, each by id.
 * Damage is an entry with a sentence, never an exception; what cannot be read for want of permission is one.
 * Creates and prunes go on meanwhile: nothing is called damaged, and no parent missing, that a further look shows otherwise.
 */
export async function readEntries(storage: SmallFiles, source: string): Promise<Entry[]> {
  const whole = new Map<string, ReadEntry>()
  for (let look = 1; ; look += 1) {
    const found = await storage.list(source)
    const backups = found.filter(({ name }) => isBackupId(name))
    const read = await mapParallel(backups, readers, async ({ name, kind }) => {
      const known = whole.get(name)
      return known ?? (kind === 'directory' ? readEntry(storage, source, name) : notADirectory(name))
    })
    for (const one of read) if (one.entry.status === 'ok') whole.set(one.entry.id, one)
    const entries = read.map(({ entry }) => entry)
    const isPassing = read.some(({ isMissing }) => isMissing) || lacksParent(entries)
    const isDoubtful = isPassing || (look === 1 && entries.some(({ status }) => status === 'damaged'))
    if (!isDoubtful || look === LOOKS) return [...entries, ...partialAmong(found)].sort(byStatusThenAge)
  }
}

function partialAmong(found: readonly StorageEntry[]): Entry[] {
  return found
    .filter(({ name, kind }) => kind === 'directory' && name.startsWith(partialPrefix))
    .map(({ name }) => name.slice(partialPrefix.length))
    .filter(isBackupId)
    .map(id => ({ status: 'partial', id }))
}

/** A listing that takes long may show what was committed last, and not what that depends on. */
function lacksParent(entries: readonly Entry[]): boolean {
  const present = new Set(entries.map(({ id }) => id))
  return entries.some(entry => {
    const parent = entry.status === 'ok' ? entry.manifest.parent : null
    return parent !== null && !present.has(parent)
  })
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

/** What one directory is, and whether anything is missing in it: it may be on its way in or out. */
interface ReadEntry {
  entry: Entry
  isMissing: boolean
}

async function readEntry(storage: SmallFiles, source: string, id: string): Promise<ReadEntry> {
  try {
    return { entry: { status: 'ok', id, manifest: await readManifest(storage, source, id) }, isMissing: false }
  } catch (error) {
    if (!(error instanceof NexusError) || !isOfThisBackup(error)) throw error
    return { entry: { status: 'damaged', id, problem: messageOf(error) }, isMissing: error.kind === 'not-found' }
  }
}

/** Whether an error tells of this backup's own state, so that the others can still be listed. */
function isOfThisBackup(error: NexusError): boolean {
  return error.kind === 'damage' || error.kind === 'not-found' || errnoOf(error.cause) === 'EIO'
}

function notADirectory(id: string): ReadEntry {
  const problem = `${id} is not a directory (links are never followed)`
  return { entry: { status: 'damaged', id, problem }, isMissing: false }
}

const rank = { ok: 0, damaged: 1, partial: 2 } as const

function byStatusThenAge(a: Entry, b: Entry): number {
  if (a.status === 'ok' && b.status === 'ok' && a.manifest.sequence !== b.manifest.sequence) {
    return a.manifest.sequence - b.manifest.sequence
  }
  return rank[a.status] - rank[b.status] || (a.id < b.id ? -1 : 1)
}
