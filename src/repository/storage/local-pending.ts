import { rename } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { NexusError } from '../../errors.js'
import { removeTree } from '../../system/names.js'
import { checksumsFile, isPartName, manifestFile, partialPrefix, quoted } from '../layout.js'
import { type Ground, makeDirectory, syncDirectory } from './ground.js'
import { alreadyThere, exists, openPartWriter } from './local-write.js'
import { at, Reach } from './reach.js'
import type { PartWriter, PendingDirectory } from './storage.js'

/** Scratch files of a run lie here, inside the pending directory, and go before it is committed. */
const scratch = '.scratch'

/** Starts `PARENT/.partial-BASENAME`, which becomes `PARENT/BASENAME` in one step. */
export function beginLocal(ground: Ground, directory: string): Promise<PendingDirectory> {
  // Held until it is committed or discarded.
  const reach = new Reach(ground)
  return at(ground, 'writing', directory, async () => {
    const parentName = directory.includes('/') ? directory.slice(0, directory.lastIndexOf('/')) : ''
    await reach.ensureDirectory(parentName)
    const final = await reach.pathOf(directory)
    const pending = join(dirname(final), partialPrefix + basename(final))
    if ((await exists(final)) || !makeDirectory(ground, pending)) throw alreadyThere(ground, directory)
    const inside = await reach.directory(join(parentName, basename(pending)))
    // Not given away like the rest: what root writes there by name, nobody else is to reach.
    const localPath = reach.makePrivate(join(inside, scratch), join(ground.location, directory, scratch))
    return pendingDirectory(ground, directory, { final, pending, inside, localPath, reach })
  }).catch(error => {
    reach.close()
    throw error
  })
}

interface Paths {
  final: string
  pending: string
  /** The pending directory itself, for what is made in it. */
  inside: string
  localPath: string
  reach: Reach
}

function pendingDirectory(ground: Ground, directory: string, paths: Paths): PendingDirectory {
  const { final, pending, inside, localPath, reach } = paths
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
    removeTree(join(inside, scratch))
    await syncDirectory(inside)
    await atLast?.()
    // rename(2) would quietly replace an empty directory of that name.
    if (await exists(final)) throw alreadyThere(ground, directory)
    await rename(pending, final)
    state = 'committed'
    await syncDirectory(dirname(final))
    reach.close()
  }

  async function throwAway(): Promise<void> {
    if (state !== 'open') return
    state = 'discarded'
    // What could not be written is being removed: only the removal's own failure matters here.
    await Promise.allSettled([...open].map(writer => writer.close()))
    removeTree(pending)
    await syncDirectory(dirname(pending))
    reach.close()
  }

  return {
    localPath,
    async create(name) {
      if (!isPartName(name) && name !== manifestFile && name !== checksumsFile) {
        throw new NexusError('failed', 'part_name_invalid', `${quoted(name)} cannot be the name of a file in a backup`)
      }
      const writer = await openPartWriter(ground, `${directory}/${name}`, join(inside, name))
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
