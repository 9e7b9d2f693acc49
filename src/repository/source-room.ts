import { NexusError } from '../errors.js'
import { backupWriter } from './backup-writer.js'
import { formerClaimsOf } from './claim.js'
import { enterSource, readClaim } from './entering.js'
import { ReadBackups, readEntries } from './entries.js'
import { isBackupId, manifestFile, quoted } from './layout.js'
import { ManifestFiles, readChecksums } from './manifest-files.js'
import { mapParallel } from './parallel.js'
import { everyProof, keepProofs, tidyProofs } from './proof-keeping.js'
import { readProofs, writeProof } from './proofs.js'
import { RememberedFiles, type SmallFiles, SummarizedFiles } from './small-files.js'
import type { Storage } from './storage/storage.js'
import type { Entry, Repository, SourceRoom } from './types.js'
import { stampsIn } from './unchanged.js'
import { walArchive } from './wal/wal-archive.js'
import { isSystemIdentifier, walDirectory } from './wal/wal-layout.js'

/** One source's part of a repository; its directory need not exist yet. `name` was checked by the caller. */
export function sourceRoom(repository: Repository, storage: Storage, name: string): SourceRoom {
  // On a disk each file is as near as a summary of them, and what earlier runs have kept is nearer.
  const summarized = storage.localPath(name) === undefined ? new SummarizedFiles(storage, name) : undefined
  const filesFor = (thorough: boolean | ReadonlySet<string>): SmallFiles => {
    if (summarized === undefined || thorough === true) return storage
    if (thorough === false) return summarized
    const isMeant = (path: string) => thorough.has(path.slice(name.length + 1).split('/', 1)[0] ?? '')
    return {
      list: directory => storage.list(directory),
      sizeOf: path => storage.sizeOf(path),
      readSmall: (path, limit) => (isMeant(path) ? storage : summarized).readSmall(path, limit),
    }
  }
  const known = new ReadBackups()
  const stampsOf = summarized === undefined ? stampsIn(storage, name) : undefined
  const readOnce = (thorough: boolean | ReadonlySet<string>): Promise<Entry[]> => {
    const isReadItself = (id: string) => (typeof thorough === 'boolean' ? thorough : thorough.has(id))
    if (summarized === undefined) {
      return readEntries(storage, name, { known, isReadItself, wasReadItself: () => true, stampsOf })
    }
    // Where all of them are to be read themselves, what was read before is no answer.
    const before = thorough === true ? new ReadBackups() : known
    const wasReadItself = (id: string) => isReadItself(id) || !summarized.holds(`${id}/${manifestFile}`)
    return readEntries(filesFor(thorough), name, { known: before, isReadItself, wasReadItself })
  }
  /** Whoever may add objects can add a summary: nothing is called damaged that has not been read itself. */
  const readThoroughly = async (thorough: boolean | ReadonlySet<string>): Promise<Entry[]> => {
    const entries = await readOnce(thorough)
    if (summarized === undefined || thorough === true) return entries
    const damaged = entries.flatMap(({ id, status }) => (status === 'damaged' ? [id] : []))
    const themselves = new Set(thorough === false ? [] : thorough)
    return damaged.every(id => themselves.has(id)) ? entries : readOnce(new Set([...themselves, ...damaged]))
  }
  const shelf = { storage, files: new RememberedFiles(summarized ?? storage), repository: repository.id, source: name }
  return {
    name,
    repository,
    async entries({ thorough = false, present = [], memory, onDamage } = {}) {
      // A prune or a verify may have waited long since it read them.
      if (stampsOf === undefined) {
        await mapParallel(present, 16, id => forgetUnlessThere(known, { storage, source: name, id }))
      } else {
        if (memory !== undefined) await known.recall(memory)
        await known.forgetChanged(stampsOf)
      }
      const entries = await readThoroughly(stampsOf !== undefined && memory === undefined ? true : thorough)
      if (stampsOf !== undefined) await memory?.keep(known.remembered)
      const damage = await summarized?.damage()
      if (damage !== undefined) onDamage?.(damage)
      return entries
    },
    confirm: ids => confirmed(known, new ManifestFiles(storage, name, known.large), ids),
    summarize: async ({ pruned = false } = {}) => summarized?.keep(pruned),
    claim: async () => (await readClaim(storage, name))?.claim,
    formerClaims: async () => formerClaimsOf((await readClaim(storage, name))?.former ?? []),
    enter: (claim, options) => enterSource(storage, name, claim, options),
    lock: (lock, mode, options) => storage.lock(name, lock, mode, options),
    begin: async (id, expected) => {
      const pending = await storage.begin(within(name, id), expected)
      return backupWriter(pending, id, name, parent => assertThere(storage, name, parent))
    },
    thaw: async ids => storage.thaw(ids.map(id => within(name, id))),
    lockEnd: () => storage.lockEnd(),
    extendLocks: async (ids, date) =>
      storage.extendLocks(
        ids.map(id => within(name, id)),
        date,
      ),
    async lockedUntil(ids) {
      const dates = await storage.lockedUntil(ids.map(id => within(name, id)))
      return new Map(ids.flatMap((id, at) => (dates[at] === undefined ? [] : [[id, dates[at]]])))
    },
    receive: async (id, expected) => storage.begin(within(name, id), expected),
    openPart: async (id, part) => storage.openRead(`${within(name, id)}/${part}`),
    checksums: id => checksumsOf(storage, name, id),
    files: async id => (await storage.list(within(name, id))).map(entry => entry.name).sort(),
    remove: async id => storage.remove(within(name, id)),
    removeLeftovers: () => storage.removeLeftovers(name),
    proofs: onDamage => everyProof(shelf, onDamage),
    readProofs: reading => readProofs(shelf.files, name, reading),
    wal: (systemIdentifier, seal) => walArchive(storage, name, systemIdentifier, seal),
    walSystems: async () => {
      const found = await storage.list(`${name}/${walDirectory}`)
      return found.filter(({ name, kind }) => kind === 'directory' && isSystemIdentifier(name)).map(({ name }) => name)
    },
    async addProof(proof) {
      await writeProof(storage, name, proof, {
        place: { repository: repository.id, source: name },
        now: new Date(proof.at),
      })
    },
    keepProofs: (proofs, how) => keepProofs(shelf, proofs, how),
    tidyProofs: (ids, how) => tidyProofs(shelf, ids, how),
  }
}

/** Whether each of these backups is what it is known as, by its manifest itself. */
async function confirmed(known: ReadBackups, files: ManifestFiles, ids: readonly string[]): Promise<boolean> {
  const unread = ids.filter(id => known.get(id, true) === undefined)
  const same = await mapParallel(unread, 16, async id => {
    try {
      return known.confirm(id, await files.read(id))
    } catch (error) {
      if (!(error instanceof NexusError) || error.kind === 'interrupted') throw error
      return false
    }
  })
  return same.every(isSame => isSame)
}

/** Whether a backup's manifest lies in its directory. */
async function isThere(storage: Storage, source: string, id: string): Promise<boolean> {
  const files = await storage.list(within(source, id))
  return files.some(({ name, kind }) => name === manifestFile && kind === 'file')
}

/** Forgets a backup unless it is there; why it cannot be looked at is told when it is read. */
async function forgetUnlessThere(
  known: ReadBackups,
  { storage, source, id }: { storage: Storage; source: string; id: string },
): Promise<void> {
  try {
    if (await isThere(storage, source, id)) return
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind === 'interrupted') throw error
  }
  known.forget(id)
}

/** A backup that lost what it depends on must not be committed: a lock may have been lost while it was written. */
async function assertThere(storage: Storage, source: string, parent: string): Promise<void> {
  if (await isThere(storage, source, parent)) return
  throw new NexusError('failed', 'parent_gone', `${parent}, on which the backup depends, was removed meanwhile`, {
    hint: 'nothing was committed; run it again: it starts with what is there now',
  })
}

/** SHA256SUMS of a backup; a committed backup without it is damage. */
async function checksumsOf(storage: Storage, source: string, id: string): Promise<Map<string, string>> {
  within(source, id)
  try {
    return await readChecksums(storage, source, id)
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind !== 'not-found') throw error
    throw new NexusError('damage', 'checksums_missing', error.message, { cause: error.cause })
  }
}

function within(source: string, id: string): string {
  if (isBackupId(id)) return `${source}/${id}`
  throw new NexusError('usage', 'id_invalid', `${quoted(id)} is not the id of a backup`)
}
