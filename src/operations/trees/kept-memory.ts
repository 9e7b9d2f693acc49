import { closeSync, constants, fstatSync, fsyncSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import * as v from 'valibot'
import { errnoOf } from '../../errors.js'
import { syncDirectory } from '../../sources/crash-record.js'
import type { KeptEntry } from './kept-entries.js'

const namesSchema = v.array(v.pipe(v.string(), v.maxLength(4096)))

/**
 * Writes down, beside a directory that is set aside, what stayed in the place where it lay: a rollback, which brings it
 * back, leaves that there too.
 */
export async function rememberKept(kept: readonly KeptEntry[]): Promise<void> {
  for (const previous of new Set(kept.map(entry => entry.previous))) {
    const names = kept.filter(entry => entry.previous === previous).map(({ name }) => name)
    forgetKept(previous)
    const fd = openSync(memoryOf(previous), constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
    try {
      writeSync(fd, `${JSON.stringify(names)}\n`)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    await syncDirectory(dirname(previous))
  }
}

/** What stayed where a directory lay that is set aside; nothing where that is not written down, or not by us. */
export function recallKept(previous: string): string[] {
  let fd: number
  try {
    fd = openSync(memoryOf(previous), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ELOOP') return []
    throw error
  }
  try {
    const stats = fstatSync(fd)
    if (!stats.isFile() || stats.uid !== process.geteuid?.()) return []
    const result = v.safeParse(namesSchema, parsed(readFileSync(fd, 'utf8')))
    return result.success ? result.output : []
  } finally {
    closeSync(fd)
  }
}

export function forgetKept(previous: string): void {
  rmSync(memoryOf(previous), { force: true })
}

function memoryOf(previous: string): string {
  return join(dirname(previous), `.${basename(previous)}.kept`)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
