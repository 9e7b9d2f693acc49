import { existsSync, linkSync, readdirSync, readFileSync, realpathSync, renameSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import * as v from 'valibot'
import { errnoOf, NexusError } from '../../errors.js'
import { type Move, syncDirectory } from './swap.js'

const path = v.pipe(v.string(), v.maxLength(4096))
const recordSchema = v.object({
  format: v.literal(1),
  /** Who is at it: a process that lives is not interfered with. */
  pid: v.number(),
  started: v.string(),
  target: path,
  /** The file that takes the database's place, and whether it is a scratch file of the restore's. */
  staged: path,
  scratch: v.boolean(),
  /** Name for what is replaced; nothing had it before. */
  previous: path,
  /** A systemd unit that was stopped for it. */
  service: v.nullable(v.string()),
  /** What is left to do once the swap has begun; null before. */
  swap: v.nullable(v.object({ moves: v.array(v.object({ from: path, to: path })), remove: v.array(path) })),
})

/** What a restore leaves beside a database until it is done, so that the next run can finish or undo it. */
export type RestoreRecord = v.InferOutput<typeof recordSchema>

/** Where the record of a database lies. */
export function recordPath(target: string): string {
  return join(dirname(target), `.${basename(target)}.nexus-restore.json`)
}

/**
 * Writes the record down, durably, before anything else is done.
 *
 * @throws NexusError `locked` when there is one: another restore of this database has begun
 */
export async function createRecord(record: RestoreRecord): Promise<void> {
  const final = recordPath(record.target)
  const draft = await writeDraft(record)
  try {
    linkSync(draft, final)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
    throw new NexusError('locked', 'restore_running', `another restore of ${record.target} has begun`, {
      hint: 'run again when it has ended',
      cause: error,
    })
  } finally {
    rmSync(draft, { force: true })
  }
  await syncDirectory(dirname(final))
}

/** Replaces the record, durably. */
export async function replaceRecord(record: RestoreRecord): Promise<void> {
  const draft = await writeDraft(record)
  renameSync(draft, recordPath(record.target))
  await syncDirectory(dirname(record.target))
}

async function writeDraft(record: RestoreRecord): Promise<string> {
  const draft = `${recordPath(record.target)}.${process.pid}.new`
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

/** The real path of a database that may not exist, nor its directory. */
export function realTarget(path: string): string {
  if (existsSync(path)) return realpathSync(path)
  const directory = dirname(path)
  return existsSync(directory) ? join(realpathSync(directory), basename(path)) : path
}

/**
 * The record of an earlier restore, or null. Paths in it must stay in the database's directory.
 *
 * @throws NexusError `damage` when it is not a record
 */
export function readRecord(target: string): RestoreRecord | null {
  const file = recordPath(target)
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
  const result = v.safeParse(recordSchema, parse(text))
  if (!result.success || !staysBeside(result.output, target)) {
    throw new NexusError('damage', 'restore_record_damaged', `${file} is not the record of a restore`, {
      hint: `look at it and at the files beside ${target}, then move it away`,
    })
  }
  return result.output
}

export function removeRecord(target: string): void {
  rmSync(recordPath(target), { force: true })
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function staysBeside(record: RestoreRecord, target: string): boolean {
  const paths = [
    record.staged,
    record.previous,
    ...(record.swap?.remove ?? []),
    ...(record.swap?.moves ?? []).flatMap(names),
  ]
  return record.target === target && paths.every(name => dirname(name) === dirname(target))
}

function names({ from, to }: Move): string[] {
  return [from, to]
}
