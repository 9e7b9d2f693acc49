import { closeSync, constants, fstatSync, fsyncSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import * as v from 'valibot'
import { errnoOf } from '../../errors.js'
import { whileHeld } from '../../system/held-directory.js'
import { removeName } from '../../system/names.js'
import { effectiveUser } from '../../system/ownership.js'
import type { KeptEntry } from './kept-entries.js'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants
const namesSchema = v.array(v.pipe(v.string(), v.maxLength(4096)))

/**
 * Writes down, beside a directory that is set aside, what stayed in the place where it lay: a rollback, which brings it
 * back, leaves that there too.
 */
export function rememberKept(kept: readonly KeptEntry[]): void {
  for (const previous of new Set(kept.map(entry => entry.previous))) {
    const names = kept.filter(entry => entry.previous === previous).map(({ name }) => name)
    forgetKept(previous)
    whileHeld(dirname(previous), directory => {
      const path = directory.at(basename(memoryOf(previous)))
      const fd = openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
      try {
        writeFileSync(fd, `${JSON.stringify(names)}\n`)
        fsyncSync(fd)
      } finally {
        closeSync(fd)
      }
      fsyncSync(directory.fd)
    })
  }
}

/** What stayed where a directory lay that is set aside; nothing where that is not written down, or not by us. */
export function recallKept(previous: string): string[] {
  let fd: number
  try {
    const name = basename(memoryOf(previous))
    fd = whileHeld(dirname(previous), directory => openSync(directory.at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ELOOP') return []
    throw error
  }
  try {
    const stats = fstatSync(fd)
    if (!stats.isFile() || stats.uid !== effectiveUser()) return []
    const result = v.safeParse(namesSchema, parsed(readFileSync(fd, 'utf8')))
    return result.success ? result.output : []
  } finally {
    closeSync(fd)
  }
}

export function forgetKept(previous: string): void {
  removeName(memoryOf(previous))
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
