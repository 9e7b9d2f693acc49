import type { FilesSettings } from './capture.js'
import type { OwnDirectories } from './own-directories.js'
import { compilePatterns } from './patterns.js'
import { findRoots } from './roots.js'

/** Makes sure that everything configured is there. How large it is the capture tells. @throws NexusError as captureFiles does */
export function probeFiles(settings: FilesSettings, own?: OwnDirectories): void {
  findRoots(settings, own)
  compilePatterns(settings.exclude)
  compilePatterns(settings.include)
}
