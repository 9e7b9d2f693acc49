import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** Name of the directories. */
export const DEEP = 'd'.repeat(200)

/** Makes directories in each other until no path is long enough to name the innermost; removed when the test ends. */
export function makeTooDeep(directory: string): void {
  execFileSync('sh', ['-c', `for i in $(seq 22); do mkdir ${DEEP} && cd ${DEEP}; done`], { cwd: directory })
  // Node's own removal goes by paths.
  onTestFinished(() => void execFileSync('rm', ['-rf', join(directory, DEEP)]))
}
