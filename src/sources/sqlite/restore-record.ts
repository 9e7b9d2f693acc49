import { readFileSync, renameSync, rmSync } from 'node:fs'
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

/** Writes or replaces the record, durably. */
export async function writeRecord(record: RestoreRecord): Promise<void> {
  const final = recordPath(record.target)
  const draft = `${final}.new`
  const file = await open(draft, 'w', 0o600)
  try {
    await file.writeFile(`${JSON.stringify(record, null, 2)}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  renameSync(draft, final)
  await syncDirectory(dirname(final))
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
