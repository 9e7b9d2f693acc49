import type { SealedWriter } from '../../repository/sealed/sealed-backup.js'
import type { OpenedBackup, OpenManifest } from '../sealing/open-backup.js'
import type { BackUpTask } from './back-up.js'
import { keepForNext } from './chain-digests.js'

/** What was written into a new backup, before it is committed. */
interface WrittenBackup {
  manifest: OpenManifest
  /** Where its table of block digests lies. */
  tablePath: string
  /** Where a tree's list of entries lies in plain; null where there is none. */
  treePath: string | null
}

/**
 * Commits what `write` has written into a new backup, and keeps its digests for the next increment; of a failure nothing
 * stays.
 *
 * @throws NexusError as `write` does, and the signal's reason
 */
export async function commitBackup(
  task: BackUpTask,
  id: string,
  write: (writer: SealedWriter) => Promise<WrittenBackup>,
): Promise<OpenedBackup> {
  const writer = await begin(task, id)
  try {
    const { manifest, tablePath, treePath } = await write(writer)
    task.context.signal.throwIfAborted()
    const stored = await writer.commit(manifest, manifest.parts)
    await keepForNext(task, { stored, manifest, tablePath, treePath })
    return { manifest, key: writer.key }
  } catch (error) {
    await writer.discard()
    throw error
  }
}

/** What seals is loaded only where something is sealed. */
async function begin({ room, sealing, probe }: BackUpTask, id: string): Promise<SealedWriter> {
  if (sealing === null) return { ...(await room.begin(id, probe.size ?? undefined)), key: null }
  const { sealedWriter } = await import('../../repository/sealed/sealed-backup.js')
  return sealedWriter(await room.begin(id, probe.size ?? undefined), id, sealing)
}
