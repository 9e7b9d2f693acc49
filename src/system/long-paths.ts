import { closeSync, constants, openSync } from 'node:fs'
import { fsPath } from './file-names.js'

/** Bytes of a path that a call takes, with the zero at its end (linux/limits.h). */
const PATH_MAX = 4096
/** Bytes of a text are at most so many times its characters. */
const BYTES_PER_CHARACTER = 3
/** A descriptor that stands for a directory without opening it (open(2)); Node does not name it. */
const O_PATH = 0o10000000
const FLAGS = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW

/**
 * Does something by a path that a call takes, whatever the length of the path that is meant. The directories on the way of a
 * longer one are opened, several names at a time: they must be such that nobody else can put a link among them.
 */
export function byShortPath<T>(path: string | Buffer, work: (path: string | Buffer) => T): T {
  const short = typeof path === 'string' ? fsPath(path) : path
  if (short.length * BYTES_PER_CHARACTER < PATH_MAX || Buffer.byteLength(short) < PATH_MAX) return work(short)
  let rest = Buffer.from(short)
  let held = -1
  try {
    while (rest.length >= PATH_MAX) {
      const end = rest.lastIndexOf('/', PATH_MAX - 1)
      const next = openSync(rest.subarray(0, end), FLAGS)
      if (held >= 0) closeSync(held)
      held = next
      rest = Buffer.concat([Buffer.from(`/proc/self/fd/${held}`), rest.subarray(end)])
    }
    return work(rest)
  } finally {
    if (held >= 0) closeSync(held)
  }
}
