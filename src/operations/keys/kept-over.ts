import { basename } from 'node:path'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { parseEpoch } from '../../repository/keys/epoch.js'
import { readHost } from '../../repository/keys/host-file.js'
import {
  epochOf,
  hostOf,
  isDistrust,
  isOfWords,
  type KeyReader,
  keysDirectory,
} from '../../repository/keys/key-layout.js'
import type { Repository } from '../../repository/types.js'
import { warnOnce } from '../trust/warn-once.js'
import { isWhole, keptFile, keptNamesIn } from './kept-keys.js'

/** What each opened repository has shown of documents that are written once and never removed. */
const documentsOf = new WeakMap<Repository, Map<string, Buffer>>()

/**
 * The documents about a repository's keys as they lie in it, and in the place of each that is damaged what this host has kept
 * of it: one file that somebody has changed must not make every backup unreadable, or not ours. So in the place of a word
 * against a host's key that is gone: who takes it away must not make that key count again.
 */
export function keptOver(context: Pick<Context, 'stateDirectory' | 'warn'>, repository: Repository): KeyReader {
  const { storage, id, location } = repository
  const documents = documentsOf.get(repository) ?? new Map<string, Buffer>()
  documentsOf.set(repository, documents)
  return {
    location: storage.location,
    async list(directory) {
      const found = await storage.list(directory)
      if (!isOfWords(directory)) return found
      const words = (await keptNamesIn(context, id, directory)).filter(isDistrust)
      const taken = words.filter(word => !found.some(({ name }) => name === word))
      return [...found, ...taken.map(name => ({ name, kind: 'file' as const }))]
    },
    async readSmall(name, limit) {
      const known = documents.get(name)
      if (known !== undefined) return known
      const read = await orDamage(storage.readSmall(name, limit), isDistrust(basename(name)))
      if (read instanceof Buffer && isForEver(name) && (await isSound(read, name))) documents.set(name, read)
      if (!name.startsWith(`${keysDirectory}/`) || (read instanceof Buffer && (await isSound(read, name))))
        return bytesOf(read)
      const kept = await keptFile(context, id, name)
      if (kept === undefined || !(await isSound(kept.bytes, name))) return bytesOf(read)
      const state = read instanceof NexusError && read.kind === 'not-found' ? 'gone' : 'damaged'
      const message = `${location}: ${name} is ${state}: this host goes on with what it has kept of it; find out who changed it, and put ${kept.path} in its place`
      warnOnce(context, message)
      return kept.bytes
    },
  }
}

/** Whether a document below `keys` stays as it is: recipients alone are taken out again. */
function isForEver(name: string): boolean {
  return /^keys\/(?:first\.json|hosts\/.+\.json|[^/]+\/(?:epoch|next)\.json)$/.test(name)
}

function bytesOf(read: Buffer | NexusError): Buffer {
  if (read instanceof NexusError) throw read
  return read
}

/** @param isKept whether one that is gone is an answer too */
async function orDamage(reading: Promise<Buffer>, isKept: boolean): Promise<Buffer | NexusError> {
  try {
    return await reading
  } catch (error) {
    const isAnswer = error instanceof NexusError && (error.kind === 'damage' || (isKept && error.kind === 'not-found'))
    if (isAnswer) return error
    throw error
  }
}

/** Whether a document is as it was written; of an epoch and a host also whether it is the one that its name says. */
async function isSound(bytes: Buffer, name: string): Promise<boolean> {
  const epoch = epochOf(name)
  const host = hostOf(name)
  const here = { readSmall: async () => bytes }
  try {
    if (epoch !== undefined) parseEpoch(bytes, epoch)
    else if (host !== undefined) await readHost(here, host)
    else return isWhole(bytes, name)
    return true
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'damage') return false
    throw error
  }
}
