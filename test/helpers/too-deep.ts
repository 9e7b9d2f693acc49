import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** Name of the directories. */
export const DEEP = 'd'.repeat(200)

const LEVELS = Array.from({ length: 12 }, () => DEEP)

/** Makes directories in each other until no path is long enough to name the innermost; removed when the test ends. */
export function makeTooDeep(directory: string): void {
  const [upper, lower] = [join(directory, ...LEVELS), join(directory, 'lower', ...LEVELS)]
  for (const path of [upper, lower]) mkdirSync(path, { recursive: true })
  renameSync(join(directory, 'lower', DEEP), join(upper, DEEP))
  execFileSync('rmdir', [join(directory, 'lower')])
  // Node's own removal goes by paths.
  onTestFinished(() => void execFileSync('rm', ['-rf', join(directory, DEEP)]))
}
