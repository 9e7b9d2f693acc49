import { NexusError } from '../../errors.js'
import { readAttestations } from '../../repository/keyring/attestation.js'
import { keysDirectory } from '../../repository/keys/key-layout.js'
import { sealedSuffix } from '../../repository/sealed/sealed-layout.js'
import type { Repository, SourceRoom } from '../../repository/types.js'
import { systemDirectory, timelineDirectory } from '../../repository/wal/wal-layout.js'
import { shellQuoted } from '../shell.js'

const asked = new WeakMap<Repository, Promise<string | undefined>>()

/**
 * Before a source that has nothing in plain yet is written in plain into a repository without keys: whoever takes the keys
 * away would otherwise have everything new written for everybody to read. Every source is looked through, once in a run, for
 * something sealed.
 * @throws NexusError refused `keys_missing`
 */
export async function assertKeysThere(repository: Repository): Promise<void> {
  const known = asked.get(repository) ?? sealedPart(repository)
  asked.set(repository, known)
  const part = await known
  if (part === undefined) return
  const { location, id, storage } = repository
  if ((await storage.list(keysDirectory)).length > 0) throw keysLost(location, part)
  const isLocal = repository.storage.localPath(keysDirectory) !== undefined
  const kept = `STATE/keys/kept/${id}/${keysDirectory}`
  const put = isLocal
    ? `cp -a ${kept} ${shellQuoted(location)}`
    : `aws s3 cp --recursive ${kept} ${location}/${keysDirectory}`
  throw new NexusError(
    'refused',
    'keys_missing',
    `${location} has no ${keysDirectory} directory, and holds ${part}, which is encrypted: its keys are missing`,
    {
      hint: `nothing was written; a host that has backed up there puts them back with its next create: nexus-backup create; else take them from its state directory STATE (${put}) or from another copy of the repository`,
    },
  )
}

function keysLost(location: string, part: string): NexusError {
  const message = `${location} holds ${part}, which is encrypted, and no keys of its own to encrypt more with, though it is no copy: some of its keys are missing`
  return new NexusError('refused', 'keys_missing', message, {
    hint: 'nothing was written; a host that has backed up there puts them back with its next create: nexus-backup create; else find out who changed it: nexus-backup-recovery(7), suspected intruder',
  })
}

/** The first sealed part that is found of a source that is no copy from a repository whose keys came along. */
async function sealedPart(repository: Repository): Promise<string | undefined> {
  const { storage, id } = repository
  const hasKeys = (await storage.list(keysDirectory)).length > 0
  for (const source of await repository.sources()) {
    // What a copy attests is of other repositories: it says nothing of what is new here.
    if (hasKeys && (await readAttestations(storage, id, source)).length > 0) continue
    const found = (await sealedBackup(repository.source(source))) ?? (await sealedWal(repository.source(source)))
    if (found !== undefined) return found
  }
  return undefined
}

/** Of one whose manifest cannot be read the names of its files tell. */
async function sealedBackup({ name, entries, repository: { storage } }: SourceRoom): Promise<string | undefined> {
  for (const entry of await entries()) {
    const { id } = entry
    const isSealed =
      entry.status === 'ok'
        ? entry.manifest.encryption !== undefined
        : (await storage.list(`${name}/${id}`)).some(file => file.name.endsWith(sealedSuffix))
    if (isSealed) return `${name}/${id}`
  }
  return undefined
}

function sealedWal(room: SourceRoom): Promise<string | undefined> {
  return walFileWith(room, name => name.endsWith(sealedSuffix))
}

/** The first stored file of a source's WAL whose name is so. */
async function walFileWith(
  { name, walSystems, wal, repository: { storage } }: SourceRoom,
  isMeant: (stored: string) => boolean,
): Promise<string | undefined> {
  for (const system of await walSystems()) {
    for (const timeline of await wal(system).timelines()) {
      const directory = `${systemDirectory(name, system)}/${timelineDirectory(timeline)}`
      const found = (await storage.list(directory)).find(file => isMeant(file.name))
      if (found !== undefined) return `${directory}/${found.name}`
    }
  }
  return undefined
}

/** Whether anything of a source lies there in plain: what follows it in plain is nothing new. */
export async function hasPlain(room: SourceRoom): Promise<boolean> {
  // Histories always are.
  const plain = await walFileWith(room, name => !name.endsWith(sealedSuffix) && !name.includes('.history'))
  if (plain !== undefined) return true
  return (await room.entries()).some(entry => entry.status === 'ok' && entry.manifest.encryption === undefined)
}
