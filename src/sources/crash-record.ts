import { existsSync, linkSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf, NexusError } from '../errors.js'

/** Where the record of a restore lies: beside what it replaces. */
export function recordPath(target: string): string {
  return join(dirname(target), `.${basename(target)}.nexus-restore.json`)
}

/**
 * Writes a record down, durably, before anything else is done.
 *
 * @throws NexusError `locked` when there is one: another restore of this target has begun
 */
export async function createRecordOf(target: string, record: object): Promise<void> {
  const final = recordPath(target)
  const draft = await writeDraft(final, record)
  try {
    linkSync(draft, final)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
    throw new NexusError('locked', 'restore_running', `another restore of ${target} has begun`, {
      hint: 'run again when it has ended',
      cause: error,
    })
  } finally {
    rmSync(draft, { force: true })
  }
  await syncDirectory(dirname(final))
}

/** Replaces the record, durably. */
export async function replaceRecordOf(target: string, record: object): Promise<void> {
  const final = recordPath(target)
  renameSync(await writeDraft(final, record), final)
  await syncDirectory(dirname(final))
}

async function writeDraft(final: string, record: object): Promise<string> {
  const draft = `${final}.${process.pid}.new`
  try {
    const file = await open(draft, 'w', 0o600)
    try {
      await file.writeFile(`${JSON.stringify(record, null, 2)}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    return draft
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
}

/**
 * The record of an earlier restore, or null.
 *
 * @param accept makes a record of what was read, or null of what is none
 * @throws NexusError `damage` when it is not a record
 */
export function readRecordOf<T>(target: string, accept: (value: unknown) => T | null): T | null {
  const file = recordPath(target)
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
  const record = accept(parse(text))
  if (record !== null) return record
  throw new NexusError('damage', 'restore_record_damaged', `${file} is not the record of a restore`, {
    hint: `look at it and at the files beside ${target}, then move it away`,
  })
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

export function removeRecord(target: string): void {
  rmSync(recordPath(target), { force: true })
}

/** Removes records that processes were writing when they were killed. */
export function removeDeadDrafts(target: string, isAlive: (pid: number) => boolean): void {
  const prefix = `${basename(recordPath(target))}.`
  const directory = dirname(target)
  for (const name of existsSync(directory) ? readdirSync(directory) : []) {
    if (!name.startsWith(prefix)) continue
    const pid = /^(\d+)\.new$/.exec(name.slice(prefix.length))?.[1]
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(directory, name), { force: true })
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
