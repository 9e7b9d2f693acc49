import { rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { NexusError } from '../../errors.js'
import { checksumsFile, isPartName, manifestFile, partialPrefix, quoted } from '../layout.js'
import { at, checkedPathOf, ensureDirectory, type Ground, makeDirectory, syncDirectory } from './ground.js'
import { alreadyThere, exists, openPartWriter } from './local-write.js'
import type { PartWriter, PendingDirectory } from './storage.js'

/** Scratch files of a run lie here, inside the pending directory, and go before it is committed. */
const scratch = '.scratch'

/** Starts `PARENT/.partial-BASENAME`, which becomes `PARENT/BASENAME` in one step. */
export function beginLocal(ground: Ground, directory: string): Promise<PendingDirectory> {
  return at(ground, 'writing', directory, async () => {
    const parentName = directory.includes('/') ? directory.slice(0, directory.lastIndexOf('/')) : ''
    await ensureDirectory(ground, parentName)
    const final = await checkedPathOf(ground, directory)
    const pending = join(dirname(final), partialPrefix + basename(final))
    if ((await exists(final)) || !(await makeDirectory(ground, pending))) throw alreadyThere(ground, directory)
    const localPath = join(pending, scratch)
    await makeDirectory(ground, localPath)
    return pendingDirectory(ground, directory, { final, pending, localPath })
  })
}

interface Paths {
  final: string
  pending: string
  localPath: string
}

function pendingDirectory(ground: Ground, directory: string, { final, pending, localPath }: Paths): PendingDirectory {
  const open = new Set<PartWriter>()
  let state: 'open' | 'committed' | 'discarded' = 'open'

  async function makeVisible(atLast: (() => Promise<void>) | undefined): Promise<void> {
    if (state !== 'open' || open.size > 0) {
      throw new NexusError(
        'failed',
        'pending_misused',
        `${directory} cannot be committed: it is ${state}, ${open.size} files open`,
      )
    }
    await rm(localPath, { recursive: true, force: true })
    await syncDirectory(pending)
    await atLast?.()
    // rename(2) would quietly replace an empty directory of that name.
    if (await exists(final)) throw alreadyThere(ground, directory)
    await rename(pending, final)
    state = 'committed'
    await syncDirectory(dirname(final))
  }

  async function throwAway(): Promise<void> {
    if (state !== 'open') return
    state = 'discarded'
    // What could not be written is being removed: only the removal's own failure matters here.
    await Promise.allSettled([...open].map(writer => writer.close()))
    await rm(pending, { recursive: true, force: true })
    await syncDirectory(dirname(pending))
  }

  return {
    localPath,
    async create(name) {
      if (!isPartName(name) && name !== manifestFile && name !== checksumsFile) {
        throw new NexusError('failed', 'part_name_invalid', `${quoted(name)} cannot be the name of a file in a backup`)
      }
      const writer = await openPartWriter(ground, `${directory}/${name}`, join(pending, name))
      const tracked: PartWriter = {
        write: bytes => writer.write(bytes),
        close: () => writer.close().finally(() => open.delete(tracked)),
      }
      open.add(tracked)
      return tracked
    },
    commit: atLast => at(ground, 'committing', directory, () => makeVisible(atLast)),
    discard: () => at(ground, 'removing', directory, throwAway),
  }
}
