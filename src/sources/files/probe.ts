import type { FilesSettings } from './capture.js'
import type { OwnDirectories } from './own-directories.js'
import { newRemarks } from './remarks.js'
import { findRoots } from './roots.js'
import { walk } from './walk.js'

/** What is known of directories before they are read. */
export interface ProbedFiles {
  /** Bytes of all files that belong into the backup. */
  size: number
  /** Entries of all kinds. */
  entries: number
}

/** Looks whether everything configured is there, and how large it is. @throws NexusError as captureFiles does */
export async function probeFiles(
  settings: FilesSettings,
  { signal, own }: { signal: AbortSignal; own?: OwnDirectories },
): Promise<ProbedFiles> {
  // What cannot be read is told by the capture itself, which looks again.
  const known = { size: 0, entries: 0 }
  const surroundings = { remarks: newRemarks(), signal, ...(own === undefined ? {} : { own }) }
  await walk(findRoots(settings, own), settings, surroundings, ({ size }) => {
    known.size += size
    known.entries += 1
  })
  return known
}
