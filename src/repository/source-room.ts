import { NexusError } from '../errors.js'
import { backupWriter } from './backup-writer.js'
import { enterSource, readClaim } from './entering.js'
import { readChecksums, readEntries } from './entries.js'
import { isBackupId, quoted } from './layout.js'
import { lockSource } from './lock.js'
import { readProofs, writeProof } from './proofs.js'
import type { LocalStorage } from './storage/local.js'
import type { Repository, SourceRoom } from './types.js'
import { walArchive } from './wal/wal-archive.js'
import { isSystemIdentifier, walDirectory } from './wal/wal-layout.js'

/** One source's part of a repository; its directory need not exist yet. `name` was checked by the caller. */
export function sourceRoom(repository: Repository, storage: LocalStorage, name: string): SourceRoom {
  return {
    name,
    repository,
    entries: () => readEntries(storage, name),
    claim: async () => (await readClaim(storage, name))?.claim,
    enter: (claim, options) => enterSource(storage, name, claim, options),
    lock: (lock, mode, options) => lockSource(storage, name, lock, mode, options),
    begin: async id => backupWriter(await storage.begin(within(name, id)), id, name),
    openPart: async (id, part) => storage.openRead(`${within(name, id)}/${part}`),
    checksums: id => checksumsOf(storage, name, id),
    files: async id => (await storage.list(within(name, id))).map(entry => entry.name).sort(),
    remove: async id => storage.remove(within(name, id)),
    removeLeftovers: () => storage.removeLeftovers(name),
    proofs: () => readProofs(storage, name),
    wal: (systemIdentifier, seal) => walArchive(storage, name, systemIdentifier, seal),
    walSystems: async () => {
      const found = await storage.list(`${name}/${walDirectory}`)
      return found.filter(({ name, kind }) => kind === 'directory' && isSystemIdentifier(name)).map(({ name }) => name)
    },
    addProof: proof => writeProof(storage, name, proof),
  }
}

/** SHA256SUMS of a backup; a committed backup without it is damage. */
async function checksumsOf(storage: LocalStorage, source: string, id: string): Promise<Map<string, string>> {
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
