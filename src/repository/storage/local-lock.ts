import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, NexusError } from '../../errors.js'
import { locksDirectory } from '../layout.js'
import { guarded, symlinkFault } from './faults.js'
import type { Ground } from './ground.js'
import { writeLocalOnce } from './local-write.js'
import { openLockFile } from './lock-file.js'
import { describeHolders, dropNote, forgetStale, leaveNote } from './lock-notes.js'
import { takeOrWait, unknownSource } from './lock-wait.js'
import type { Lock, LockMode, LockName, LockOptions } from './locks.js'
import { at, Reach } from './reach.js'

const pauses = { grace: [5, 20, 50], first: 100, longest: 1000 }

/**
 * Takes a lock of a source: a lock on the open file SOURCE/.locks/NAME, which the kernel drops with the process.
 * A shared lock is a token with `unlocked: true` on a read-only repository, and where the lock's files cannot be used, whatever
 * the reason (`fault`): the caller warns. What anybody may put beside the backups keeps nobody from reading them.
 * @throws NexusError locked when it stays held, not-found for a shared lock of a source that is not there,
 *   interrupted when the signal ends the waiting
 */
export async function lockLocal(
  ground: Ground,
  writable: boolean,
  wanted: { source: string; name: LockName; mode: LockMode },
  options: LockOptions,
): Promise<Lock> {
  const { source, mode } = wanted
  if (mode === 'shared') {
    if (!(await isDirectory(ground, source))) throw unknownSource(source, ground.location)
    if (!writable) return { unlocked: true, release: async () => {} }
  }
  // Held as long as the lock is.
  const reach = new Reach(ground)
  try {
    const lock = await take(ground, reach, wanted, options)
    return { unlocked: false, release: () => lock.release().finally(() => reach.close()) }
  } catch (error) {
    reach.close()
    const isUnusable = error instanceof NexusError && (error.kind === 'damage' || error.kind === 'failed')
    if (mode !== 'shared' || !isUnusable) throw error
    return { unlocked: true, fault: error, release: async () => {} }
  }
}

async function take(
  ground: Ground,
  reach: Reach,
  { source, name, mode }: { source: string; name: LockName; mode: LockMode },
  options: LockOptions,
): Promise<{ release(): Promise<void> }> {
  const below = `${source}/${locksDirectory}`
  const directory = await at(ground, 'writing', below, async () => {
    const found = await orAbsent(reach.pathOf(below).then(path => lstat(path)))
    if (found !== undefined && !found.isDirectory() && !found.isSymbolicLink()) {
      throw notOurs(join(ground.location, below), 'is not a directory')
    }
    return reach.ensureDirectory(below)
  })
  const path = join(ground.location, below, name)
  await guarded({ verb: 'locking', path, location: ground.location }, () =>
    ensureLockFile(ground, directory, `${below}/${name}`),
  )
  const file = await openLockFile(join(directory, name), path)
  try {
    await takeOrWait(source, options, pauses, {
      tryTake: async () => file.tryTake(mode) || undefined,
      holders: () => describeHolders(directory, name, options.host),
    })
  } catch (error) {
    file.close()
    throw error
  }
  await forgetStale(directory, name, mode, options.host)
  const note = await leaveNote(directory, name, mode, options)
  return {
    async release() {
      // First the note, then the lock: a note never outlives its lock while we live.
      await dropNote(note)
      file.close()
    },
  }
}

async function isDirectory(ground: Ground, name: string): Promise<boolean> {
  try {
    await at(ground, 'reading', name, reach => reach.directory(name))
    return true
  } catch (error) {
    if (errnoOf((error as Error).cause) === 'ENOENT') return false
    throw error
  }
}

/**
 * The lock file has its owner from the first instant: it is made under another name. It stays empty, for earlier versions
 * open it with SQLite.
 */
async function ensureLockFile(ground: Ground, directory: string, name: string): Promise<void> {
  const shown = join(ground.location, name)
  const found = await orAbsent(lstat(join(directory, name.slice(name.lastIndexOf('/') + 1))))
  if (found?.isSymbolicLink()) throw symlinkFault(shown)
  if (found && (!found.isFile() || found.size !== 0))
    throw notOurs(shown, 'is not a lock file of nexus-backup: those are empty')
  if (found) return
  try {
    await writeLocalOnce(ground, name, new Uint8Array())
  } catch (error) {
    // Another run made it between our two calls.
    if (!(error instanceof NexusError) || error.code !== 'exists') throw error
  }
}

async function orAbsent<T>(looking: Promise<T>): Promise<T | undefined> {
  try {
    return await looking
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function notOurs(path: string, problem: string): NexusError {
  return new NexusError('damage', 'lock_file_damaged', `${path} ${problem}`, {
    hint: `when no nexus-backup runs, move it out of the repository: mv ${path} /tmp`,
  })
}
