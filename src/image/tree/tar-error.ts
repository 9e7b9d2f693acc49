import { NexusError } from '../../errors.js'

/** An archive that cannot be read on: cut off, garbled, or with something in it that no tree image can hold. */
export function badArchive(problem: string): NexusError {
  return new NexusError('failed', 'archive_unreadable', `the tar archive of the source ${problem}`)
}
