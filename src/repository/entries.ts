import { errnoOf, messageOf, NexusError } from '../errors.js'
import { canonicalJson } from './json.js'
import { isBackupId, partialPrefix } from './layout.js'
import type { Manifest } from './manifest.js'
import { LargeManifests, ManifestFiles } from './manifest-files.js'
import { mapParallel } from './parallel.js'
import type { SmallFiles } from './small-files.js'
import type { StorageEntry } from './storage/storage.js'
import type { Entry } from './types.js'
import {
  type BackupStamp,
  isSameStamp,
  type ManifestMemory,
  type RememberedManifest,
  type Stamps,
} from './unchanged.js'

/** Backups read at the same time. */
const readers = 16

/** Looks at a source, at most: each state that a create or a prune passes through costs one, and each backup has few. */
const LOOKS = 5

/**
 * The backups of a source that a run has read already. A committed backup's manifest is never changed, so only the list of
 * backups is read again; what was damaged, or on its way in or out, is looked at anew each time.
 */
export class ReadBackups {
  readonly #whole = new Map<string, ReadEntry>()
  /** Those whose manifest was read itself, and not in a summary or what an earlier run has kept. */
  readonly #themselves = new Set<string>()
  /** Of the files that each was read from, before they were. */
  readonly #stamps = new Map<string, BackupStamp>()
  #recalled: Promise<void> | undefined
  readonly large = new LargeManifests()

  /** One that was found whole; undefined where its manifest is still to be read. */
  get(id: string, itself: boolean): ReadEntry | undefined {
    return itself && !this.#themselves.has(id) ? undefined : this.#whole.get(id)
  }

  keep(one: ReadEntry, itself: boolean, stamp?: BackupStamp): void {
    const { status, id } = one.entry
    if (status !== 'ok') return
    this.#whole.set(id, one)
    if (itself) this.#themselves.add(id)
    if (stamp !== undefined) this.#stamps.set(id, stamp)
  }

  /** Takes note that one was read itself. @returns whether it is what it was known as; what is not is forgotten */
  confirm(id: string, manifest: Manifest | undefined): boolean {
    const entry = this.#whole.get(id)?.entry
    const isSame =
      entry?.status === 'ok' && manifest !== undefined && canonicalJson(entry.manifest) === canonicalJson(manifest)
    if (isSame) this.#themselves.add(id)
    else this.forget(id)
    return isSame
  }

  forget(id: string): void {
    this.#whole.delete(id)
    this.#themselves.delete(id)
    this.#stamps.delete(id)
  }

  /** Takes over, once, what earlier runs have kept. It was not read in this one. */
  recall(memory: ManifestMemory): Promise<void> {
    this.#recalled ??= memory.load().then(remembered => {
      for (const { manifest, stamp } of remembered) {
        if (!this.#whole.has(manifest.id)) this.keep(whole(manifest.id, manifest), false, stamp)
      }
    })
    return this.#recalled
  }

  /** Forgets those whose files are not the very ones that were read. */
  async forgetChanged(stampsOf: Stamps): Promise<void> {
    const now = await stampsOf(this.ids)
    for (const id of this.ids) if (!isSameStamp(this.#stamps.get(id), now.get(id))) this.forget(id)
  }

  /** Those that a later run need not read unless they change. */
  get remembered(): RememberedManifest[] {
    return [...this.#whole.values()].flatMap(({ entry }) => {
      const stamp = this.#stamps.get(entry.id)
      return stamp === undefined || entry.status !== 'ok' ? [] : [{ manifest: entry.manifest, stamp }]
    })
  }

  /** Forgets those that are gone. */
  retain(present: ReadonlySet<string>): void {
    for (const id of this.#whole.keys()) if (!present.has(id)) this.forget(id)
  }

  get ids(): string[] {
    return [...this.#whole.keys()]
  }

  get isEmpty(): boolean {
    return this.#whole.size === 0
  }
}

/** What an earlier look at a source has shown, and for which backups that is enough. */
export interface Reading {
  known?: ReadBackups
  /** Whether a manifest must have been read itself: a summary of it, or what an earlier run has kept, does not do. */
  isReadItself?(id: string): boolean
  /** Whether one that was read now was read itself, and not in a summary; else those that must be are. */
  wasReadItself?(id: string): boolean
  /** Taken of backups before they are read. */
  stampsOf?: Stamps | undefined
}

/**
 * Every backup directory of a source: good ones by sequence, then damaged, then partial ones, each by id.
 * Damage is an entry with a sentence, never an exception. So is a backup that we have no permission to read among others
 * that we may read; where there is none of those, the permission is an exception.
 * Creates and prunes go on meanwhile: nothing is called damaged, and no parent missing, that a further look shows otherwise.
 */
export async function readEntries(
  storage: SmallFiles,
  source: string,
  { known = new ReadBackups(), isReadItself = () => true, wasReadItself = isReadItself, stampsOf }: Reading = {},
): Promise<Entry[]> {
  const manifests = new ManifestFiles(storage, source, known.large)
  for (let look = 1; ; look += 1) {
    const found = await storage.list(source)
    const backups = found.filter(({ name }) => isBackupId(name))
    known.retain(new Set(backups.flatMap(({ name, kind }) => (kind === 'directory' ? [name] : []))))
    const before = (id: string) => known.get(id, isReadItself(id))
    const unread = new Set(backups.flatMap(({ name }) => (before(name) === undefined ? [name] : [])))
    const stamps = await stampsOf?.([...unread])
    const read = await readAll(manifests, backups, before)
    for (const one of read) {
      const { id } = one.entry
      if (unread.has(id)) known.keep(one, wasReadItself(id), stamps?.get(id))
    }
    const denied = read.find(one => one.denied !== undefined)?.denied
    if (denied !== undefined && known.isEmpty) throw denied
    const entries = read.map(({ entry }) => entry)
    const isPassing = read.some(({ isMissing }) => isMissing) || lacksParent(entries)
    const isDoubtful = isPassing || (look === 1 && entries.some(({ status }) => status === 'damaged'))
    if (!isDoubtful || look === LOOKS) return [...entries, ...partialAmong(found)].sort(byStatusThenAge)
  }
}

/** What one directory is. */
interface ReadEntry {
  entry: Entry
  /** Something is missing in it: it may be on its way in or out. */
  isMissing: boolean
  /** Why it cannot be read, where that is for want of permission. */
  denied?: NexusError
}

/** @param known one that an earlier look found whole */
async function readAll(
  manifests: ManifestFiles,
  backups: readonly StorageEntry[],
  known: (id: string) => ReadEntry | undefined,
): Promise<ReadEntry[]> {
  const large = new Map<string, ReadEntry | undefined>()
  const read = await mapParallel(backups, readers, async ({ name: id, kind }) => {
    const before = kind === 'directory' ? known(id) : notADirectory(id)
    if (before !== undefined) return before
    try {
      const manifest = await manifests.read(id)
      if (manifest !== undefined) return whole(id, manifest)
      large.set(id, undefined)
      return undefined
    } catch (error) {
      return unusable(id, error)
    }
  })
  await manifests.readLarge([...large.keys()], (id, manifest) => {
    try {
      large.set(id, whole(id, manifest()))
    } catch (error) {
      large.set(id, unusable(id, error))
    }
  })
  return read.flatMap((one, at) => one ?? large.get(backups[at]?.name ?? '') ?? [])
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

function whole(id: string, manifest: Manifest): ReadEntry {
  return { entry: { status: 'ok', id, manifest }, isMissing: false }
}

/** @throws the error where it is not about this backup alone */
function unusable(id: string, error: unknown): ReadEntry {
  if (!(error instanceof NexusError)) throw error
  const isDenied = deniedCodes.has(error.code)
  if (!isDenied && !isOfThisBackup(error)) throw error
  const entry = { status: 'damaged', id, problem: messageOf(error) } as const
  return { entry, isMissing: error.kind === 'not-found', ...(isDenied ? { denied: error } : {}) }
}

/** What a disk and a bucket say where we may not read. */
const deniedCodes: ReadonlySet<string> = new Set(['repository_permission', 'access_denied'])

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
