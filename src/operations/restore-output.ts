import { closeSync, openSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from '../context.js'
import { messageOf, NexusError } from '../errors.js'
import type { Journal } from '../journal/types.js'
import { patternOf } from '../sources/files/choose.js'
import { descriptorPath } from '../system/held-directory.js'
import { byShortPath } from '../system/long-paths.js'
import { effectiveUser, giveSpecial } from '../system/ownership.js'
import type { RestorePlan, RestoreRequest } from './requests.js'
import { planRestore, restore } from './restore.js'
import type { RestoreResult } from './results.js'
import { shellQuoted } from './shell.js'
import { withStateScratch } from './state-directory.js'

/** A restore to standard output has no target. */
export type OutputRequest = Omit<RestoreRequest, 'target'>

/** Takes the bytes in order; resolves when more may come. */
export type Output = (bytes: Uint8Array) => Promise<void>

/** Where a restore to standard output goes, in messages and results. */
const OUTPUT = '-'
const CHUNK_BYTES = 1024 * 1024

/**
 * What a restore of one file to standard output would do.
 *
 * @throws NexusError `usage` (`not_one_file`) when the backup is of files and not exactly one regular file is meant
 */
export async function planOutput(context: Context, request: OutputRequest): Promise<RestorePlan> {
  return withStateScratch(context.stateDirectory, async scratch => {
    const target = { kind: 'path', path: join(scratch, 'restored'), force: false } as const
    const plan = await planRestore(context, { ...request, target })
    if (plan.part !== undefined) assertOneFile(plan)
    return { ...plan, target: OUTPUT }
  })
}

/**
 * Restores one file, or a database, and writes it out. It is restored into scratch space first: nothing is written that was
 * not compared with its digests.
 *
 * @param plan as `planOutput` made it
 * @param kind of the backup
 * @throws NexusError `damage` before anything is written; `failed` (`output_failed`) when not all of it could be written
 */
export async function restoreToOutput(
  context: Context,
  journal: Journal,
  { request, plan, write }: { request: OutputRequest; plan: RestorePlan; write: Output },
): Promise<RestoreResult> {
  return withStateScratch(context.stateDirectory, async scratch => {
    const path = join(scratch, 'restored')
    const target = { kind: 'path', path, force: false } as const
    // The very backup that was looked at, whatever has come since.
    const result = await restore(context, journal, { ...request, backup: plan.id, target })
    const [file] = plan.part?.named ?? []
    await writeOut(context, file === undefined ? path : openTo(path, file.path), write)
    return { ...result, target: OUTPUT }
  })
}

/** The path of a restored file, which its owner may not read, nor all directories on the way. */
function openTo(directory: string, file: string): string {
  const whole = join(directory, file)
  if (effectiveUser() === 0) return whole
  const names = file.split('/').filter(name => name !== '')
  for (let depth = 1; depth <= names.length; depth += 1)
    giveSpecial(join(directory, ...names.slice(0, depth)), null, 0o700)
  return whole
}

/** Opens a file whose path may be longer than a call takes. */
async function openAt(path: string): Promise<FileHandle> {
  const fd = byShortPath(path, at => openSync(at, 'r'))
  try {
    return await open(descriptorPath(fd) ?? path, 'r')
  } finally {
    closeSync(fd)
  }
}

async function writeOut(context: Context, path: string, write: Output): Promise<void> {
  const handle = await openAt(path)
  try {
    for (;;) {
      context.signal.throwIfAborted()
      // A buffer of its own each time: who takes the bytes may keep them for a while.
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafeSlow(CHUNK_BYTES), 0, CHUNK_BYTES)
      if (bytesRead === 0) return
      await orFailed(write(buffer.subarray(0, bytesRead)))
    }
  } finally {
    await handle.close()
  }
}

async function orFailed(writing: Promise<void>): Promise<void> {
  try {
    await writing
  } catch (error) {
    throw new NexusError('failed', 'output_failed', `the file could not be written out whole: ${messageOf(error)}`, {
      hint: 'what was written is only its beginning: throw it away and run the command again',
      cause: error,
    })
  }
}

/** @throws NexusError `usage` (`not_one_file`) */
function assertOneFile({ id, part }: RestorePlan): void {
  const [first, second] = part?.named ?? []
  if (part?.files === 1 && second === undefined) return
  const see = `see what ${id} holds: nexus-backup list ${id} --files`
  if (first === undefined || (second === undefined && part?.files === 0)) {
    const what = first === undefined ? 'only directories match' : `${first.path} is a ${first.type} and no regular file`
    throw new NexusError('usage', 'not_one_file', `--to - takes one regular file: ${what}`, { hint: see })
  }
  const many = `${first.path} and ${second?.path ?? 'another name'} match`
  throw new NexusError('usage', 'not_one_file', `--to - takes one regular file: ${many}`, {
    hint: `name one: nexus-backup restore ${id} --include ${shellQuoted(patternOf(first.path))} --to -; or ${see}`,
  })
}
