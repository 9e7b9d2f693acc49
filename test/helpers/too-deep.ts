import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** Name of the directories. */
export const DEEP = 'd'.repeat(200)

const LEVELS = Array.from({ length: 12 }, () => DEEP)

/**
 * Makes directories in each other until no call takes a path to the innermost; removed when the test ends.
 *
 * @param pieces of 2400 bytes each
 */
export function makeTooDeep(directory: string, pieces = 2): void {
  const top = join(directory, DEEP)
  mkdirSync(top)
  for (let piece = 0; piece < pieces; piece += 1) {
    const upper = join(directory, 'upper')
    mkdirSync(join(upper, ...LEVELS), { recursive: true })
    renameSync(top, join(upper, ...LEVELS, DEEP))
    renameSync(join(upper, DEEP), top)
    execFileSync('rmdir', [upper])
  }
  // Node's own removal goes by paths.
  onTestFinished(() => void execFileSync('rm', ['-rf', top]))
}

/** Writes a file into the innermost of those directories. */
export function tooDeepFile(directory: string, name: string, content: string): void {
  const script = 'cd "$1" && while cd -P ./"$2" 2>/dev/null; do :; done; printf %s "$4" > "$3"'
  execFileSync('sh', ['-c', script, 'sh', directory, DEEP, name, content])
}
