import { join } from 'node:path'
import type { Context } from '../context.js'
import { messageOf, NexusError } from '../errors.js'
import type { WriterHost } from '../repository/storage/locks.js'

/** Below the state directory: a lock for each source that is written where one host alone may write. */
const directory = 'writers'

/** This machine as a repository of a single writer knows it: by the key with which it signs. */
export function writerHost({ stateDirectory, takeOver = false }: Context): WriterHost {
  return {
    async id() {
      const { hostSigner } = await import('./sealing/host-keys.js')
      return (await hostSigner({ stateDirectory })).id
    },
    takeOver,
    async openLock(name) {
      const { openStateLock } = await import('./state-lock.js')
      try {
        return await openStateLock(stateDirectory, [directory], name)
      } catch (error) {
        if (error instanceof NexusError) throw error
        const path = join(stateDirectory, directory, name)
        throw new NexusError('failed', 'state_unusable', `the lock ${path} cannot be made: ${messageOf(error)}`, {
          hint: 'run as the owner of the state directory or as root, or name another one with --state DIR',
          cause: error,
        })
      }
    },
  }
}
