import { existsSync, realpathSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import * as v from 'valibot'
import { directoryBeside } from '../../system/staging.js'
import { createRecordOf, readRecordOf, replaceRecordOf } from '../crash-record.js'
import type { Move } from './swap.js'

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
  /** True when the database is overwritten within its own file and `previous` is a copy. Records of old have it not. */
  overwrites: v.optional(v.boolean()),
})

/** What a restore leaves beside a database until it is done, so that the next run can finish or undo it. */
export type RestoreRecord = v.InferOutput<typeof recordSchema>

/**
 * Writes the record down, durably, before anything else is done.
 *
 * @throws NexusError `locked` when there is one: another restore of this database has begun
 */
export function createRecord(record: RestoreRecord): void {
  createRecordOf(record.target, record)
}

/** Replaces the record, durably. */
export function replaceRecord(record: RestoreRecord): void {
  replaceRecordOf(record.target, record)
}

/** The real path of a database that may not exist, nor its directory. What is to be replaced, `trustedPath` tells. */
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
  return readRecordOf(target, value => {
    const result = v.safeParse(recordSchema, value)
    return result.success && staysBeside(result.output, target) ? result.output : null
  })
}

function staysBeside(record: RestoreRecord, target: string): boolean {
  const paths = [
    record.staged,
    record.previous,
    ...(record.swap?.remove ?? []),
    ...(record.swap?.moves ?? []).flatMap(names),
  ]
  return record.target === target && paths.every(name => directoryBeside(name) === dirname(target))
}

function names({ from, to }: Move): string[] {
  return [from, to]
}
