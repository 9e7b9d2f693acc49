import { randomInt } from 'node:crypto'
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { errnoOf, NexusError } from '../errors.js'
import { locksDirectory } from './layout.js'
import { type LockFile, type LockMode, openLockFile } from './lock-file.js'
import { describeHolders, dropNote, forgetStale, leaveNote } from './lock-notes.js'
import { guarded, symlinkFault } from './storage/faults.js'
import type { LocalStorage } from './storage/local.js'
import type { Lock, LockOptions } from './types.js'

/** Two attempts may refuse each other in passing; these pauses (ms) come before any answer or waiting. */
const graceDelays = [5, 20, 50]
const firstDelay = 100
const longestDelay = 1000

/**
 * Takes a lock of a source: a transaction held on SOURCE/.locks/NAME, which the kernel drops with the process.
 * On a read-only repository a shared lock is a token with `unlocked: true`: the caller warns.
 * @throws NexusError locked when it stays held, not-found for a shared lock of a source that is not there,
 *   interrupted when the signal ends the waiting
 */
export async function lockSource(
  storage: LocalStorage,
  source: string,
  name: 'writer' | 'delete',
  mode: LockMode,
  options: LockOptions,
): Promise<Lock> {
  if (mode === 'shared') {
    if ((await storage.existingDirectory(source)) === undefined) throw unknownSource(storage, source)
    if (!storage.writable) return { unlocked: true, release: async () => {} }
  }
  const directory = await storage.makeDirectory(`${source}/${locksDirectory}`)
  const path = storage.displayed(`${source}/${locksDirectory}/${name}`)
  await guarded({ verb: 'locking', path, location: storage.location }, () =>
    ensureLockFile(storage, directory, source, name),
  )
  const file = await openLockFile(join(directory, name), path)
  try {
    await take(file, mode, directory, name, source, options)
  } catch (error) {
    file.close()
    throw error
  }
  await forgetStale(directory, name, mode, options.host)
  const note = await leaveNote(directory, name, mode, options)
  return {
    unlocked: false,
    async release() {
      // First the note, then the lock: a note never outlives its lock while we live.
      await dropNote(note)
      file.close()
    },
  }
}

async function take(
  file: LockFile,
  mode: LockMode,
  directory: string,
  name: string,
  source: string,
  options: LockOptions,
): Promise<void> {
  for (const delay of graceDelays) {
    if (file.tryTake(mode)) return
    await pause(delay + randomInt(10), options.signal)
  }
  let waited = 0
  let delay = firstDelay
  const limit = options.waitSeconds * 1000
  while (!file.tryTake(mode)) {
    if (waited >= limit) throw await lockedError(directory, name, source, options)
    if (waited === 0) options.onWait(`${source}: waiting for ${await describeHolders(directory, name, options.host)}`)
    const step = Math.min(delay, limit - waited)
    await pause(step, options.signal)
    waited += step
    delay = Math.min(delay * 1.5, longestDelay)
  }
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal })
  } catch (cause) {
    throw new NexusError('interrupted', 'interrupted', 'interrupted while waiting for a lock', { cause })
  }
}

async function lockedError(directory: string, name: string, source: string, options: LockOptions): Promise<NexusError> {
  const holders = await describeHolders(directory, name, options.host)
  const after = options.waitSeconds > 0 ? ` after waiting ${options.waitSeconds} seconds` : ''
  return new NexusError('locked', 'locked', `${source} is locked by ${holders}${after}`, {
    hint: `wait for it with --wait SECONDS, for example --wait ${Math.max(600, options.waitSeconds * 2)}`,
  })
}

/**
 * The lock file is made without SQLite, so that it has its owner from the first instant, under another name,
 * and from then on only SQLite opens it.
 */
async function ensureLockFile(storage: LocalStorage, directory: string, source: string, lock: string): Promise<void> {
  const name = `${source}/${locksDirectory}/${lock}`
  const found = await lstat(join(directory, lock)).catch(error => {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  })
  if (found?.isSymbolicLink()) throw symlinkFault(storage.displayed(name))
  if (found && (!found.isFile() || found.size !== 0)) throw foreignLockFile(storage.displayed(name))
  if (found) return
  try {
    await storage.writeOnce(name, new Uint8Array())
  } catch (error) {
    // Another run made it between our two calls.
    if (!(error instanceof NexusError) || error.code !== 'exists') throw error
  }
}

function foreignLockFile(path: string): NexusError {
  return new NexusError('damage', 'lock_file_damaged', `${path} is not a lock file of nexus-backup: those are empty`, {
    hint: `when no nexus-backup runs, remove it: rm ${path}`,
  })
}

function unknownSource(storage: LocalStorage, source: string): NexusError {
  return new NexusError('not-found', 'source_not_found', `no source ${source} in ${storage.location}`, {
    hint: `see what is there with: nexus-backup list --repo ${storage.location}`,
  })
}
