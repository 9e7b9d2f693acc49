import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf, NexusError } from '../errors.js'
import { derivedName } from '../system/derived-name.js'
import { type HeldDirectory, whileHeld } from '../system/held-directory.js'
import { removeName } from '../system/names.js'
import { isOurs } from '../system/ownership.js'
import { putOnce } from '../system/put-once.js'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants
const OTHERS_MAY_WRITE = 0o022
/** Bytes; a record of ten thousand directories has less. */
const RECORD_LIMIT = 64 * 1024 * 1024
/** What `.PID.new` adds to the name of a record. */
const DRAFT_BYTES = '.4194304.new'.length

/** Where the record of a restore lies: beside what it replaces. */
export function recordPath(target: string): string {
  const name = derivedName(basename(target), { prefix: '.', suffix: '.nexus-restore.json', reserved: DRAFT_BYTES })
  return join(dirname(target), name)
}

/**
 * Writes a record down, durably, before anything else is done.
 *
 * @throws NexusError `locked` when there is one: another restore of this target has begun; `refused`
 *   (`restore_record_foreign`) when it is another user's
 */
export function createRecordOf(target: string, record: object): void {
  whileHeld(dirname(target), directory => {
    const final = basename(recordPath(target))
    const draft = writeDraft(directory, final, record)
    try {
      if (!putOnce(directory.at(draft), directory.at(final))) throw recordThere(target)
    } finally {
      rmSync(directory.at(draft), { force: true })
    }
    fsyncSync(directory.fd)
  })
}

function recordThere(target: string): NexusError {
  const foreign = foreignRecord(target)
  if (foreign !== null) return recordOfAnother(target, foreign)
  return new NexusError('locked', 'restore_running', `another restore of ${target} has begun`, {
    hint: 'run again when it has ended',
  })
}

/** Replaces the record, durably. */
export function replaceRecordOf(target: string, record: object): void {
  whileHeld(dirname(target), directory => {
    const final = basename(recordPath(target))
    renameSync(directory.at(writeDraft(directory, final, record)), directory.at(final))
    fsyncSync(directory.fd)
  })
}

/** A new file: nothing that has its name already is written to, and no link followed. */
function writeDraft(directory: HeldDirectory, final: string, record: object): string {
  const draft = `${final}.${process.pid}.new`
  rmSync(directory.at(draft), { force: true })
  const fd = openSync(directory.at(draft), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  try {
    writeFileSync(fd, `${JSON.stringify(record, null, 2)}\n`)
    fsyncSync(fd)
    return draft
  } catch (error) {
    rmSync(directory.at(draft), { force: true })
    throw error
  } finally {
    closeSync(fd)
  }
}

/**
 * The record of an earlier restore, or null. One that root or this user cannot have made counts for nothing: whoever may
 * write in the directory could have planted it.
 *
 * @param accept makes a record of what was read, or null of what is none
 * @throws NexusError `damage` when it is not a record, `refused` when it is root's and this user is not root
 */
export function readRecordOf<T>(target: string, accept: (value: unknown) => T | null): T | null {
  const text = openRecord(target, fd => (fd !== null && isOwnRecord(fd) ? readFileSync(fd, 'utf8') : null))
  if (text === null) return null
  const record = accept(parse(text))
  if (record !== null) return record
  const file = recordPath(target)
  throw new NexusError('damage', 'restore_record_damaged', `${file} is not the record of a restore`, {
    hint: `look at it and at the files beside ${target}, then move it away`,
  })
}

/** Whose the record beside a target is, when it is not ours: a user id, or -1 for something that is no plain file; else null. */
export function foreignRecord(target: string): number | null {
  return openRecord(target, fd => {
    if (fd === null) return -1
    return isOwnRecord(fd) ? null : fstatSync(fd).uid
  })
}

/** What to tell of a record that counts for nothing. */
export function foreignRecordWarning(target: string, owner: number): string {
  const whose = owner < 0 ? 'is no plain file' : `belongs to user id ${owner}, not to this user or root`
  return `${recordPath(target)} ${whose}, and is ignored: nothing that it says is done`
}

function recordOfAnother(target: string, owner: number): NexusError {
  const file = recordPath(target)
  const message = `${file} is in the way: it looks like the record of a restore, but ${owner < 0 ? 'is no plain file' : `belongs to user id ${owner}`}`
  return new NexusError('refused', 'restore_record_foreign', message, {
    hint: `if no restore by that user runs, or waits to be finished by the next run as that user, move it away: mv -- '${file}' '${file}.foreign'`,
  })
}

/** @param work gets null for a link, which nobody's record is */
function openRecord<T>(target: string, work: (fd: number | null) => T | null): T | null {
  const name = basename(recordPath(target))
  let fd: number
  try {
    fd = whileHeld(dirname(target), directory => openSync(directory.at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return null
    if (errnoOf(error) === 'EACCES') throw unreadableRecord(target, error)
    if (errnoOf(error) === 'ELOOP') return work(null)
    throw error
  }
  try {
    return work(fd)
  } finally {
    closeSync(fd)
  }
}

function isOwnRecord(fd: number): boolean {
  const found = fstatSync(fd)
  return found.isFile() && isOurs(found) && (found.mode & OTHERS_MAY_WRITE) === 0 && found.size <= RECORD_LIMIT
}

function unreadableRecord(target: string, cause: unknown): NexusError {
  const message = `a restore of ${target} by another user runs or was killed: ${recordPath(target)} cannot be read`
  return new NexusError('refused', 'restore_record_foreign', message, { hint: 'run it as root', cause })
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

export function removeRecord(target: string): void {
  removeName(recordPath(target))
}

/** Removes records that processes were writing when they were killed. */
export function removeDeadDrafts(target: string, isAlive: (pid: number) => boolean): void {
  const prefix = `${basename(recordPath(target))}.`
  const directory = dirname(target)
  for (const name of existsSync(directory) ? readdirSync(directory) : []) {
    if (!name.startsWith(prefix)) continue
    const pid = /^(\d+)\.new$/.exec(name.slice(prefix.length))?.[1]
    if (pid !== undefined && !isAlive(Number(pid))) removeName(join(directory, name))
  }
}

/** Makes names and renames of a directory's files durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
