import { rmSync } from 'node:fs'
import { join } from 'node:path'
import * as v from 'valibot'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { isRunning, thisProcess } from '../restoring-process.js'
import { inStateDirectory } from '../state-directory.js'
import { readStateFile, writeStateFile } from '../state-file.js'
import { withStateLock } from '../state-lock.js'

const DIRECTORY = 'hooks'

const recordSchema = v.object({
  pid: v.pipe(v.number(), v.integer()),
  started: v.string(),
  /** When the hooks began. */
  at: v.pipe(v.string(), v.isoTimestamp()),
  /** The unit that the run stopped. */
  service: v.nullable(v.string()),
})
export type HookRecord = v.InferOutput<typeof recordSchema>

type State = Pick<Context, 'stateDirectory'>

/** Writes down, before it happens, what must be undone when this run is killed. @throws NexusError `failed` (`state_unusable`) */
export async function recordHooks(
  { stateDirectory }: State,
  source: string,
  record: Pick<HookRecord, 'at' | 'service'>,
): Promise<void> {
  try {
    const text = `${JSON.stringify({ ...thisProcess(), ...record })}\n`
    await writeStateFile(stateDirectory, [DIRECTORY], fileOf(source), text)
  } catch (error) {
    if (error instanceof NexusError) throw error
    const message = `the state directory cannot be used: ${stateDirectory}: ${messageOf(error)}`
    throw new NexusError('failed', 'state_unusable', message, {
      hint: 'hooks are run only where a killed run leaves word of them: make it writable, or name another one with --state DIR',
      cause: error,
    })
  }
}

/** Both hooks of this run have ended. What another run has written down since stays. */
export async function forgetHooks(state: State, source: string): Promise<void> {
  await withStateLock(state.stateDirectory, [DIRECTORY], async () => {
    const record = await readRecord(state, source)
    if (record !== null && record.pid !== process.pid) return
    await inStateDirectory(state.stateDirectory, [DIRECTORY], async directory => {
      rmSync(directory.at(fileOf(source)), { force: true })
    })
  })
}

/**
 * Takes the record of a run that was killed between its hooks: of several runs one gets it. Until the work is done it is the
 * record of this run, so that the next one finds it when this one is killed as well.
 *
 * @param work has done what is to be done when it returns; where it throws, the record stays for the next run
 * @returns null where there is none
 */
export async function withAbandonedHooks<T>(
  state: State,
  source: string,
  work: (record: HookRecord) => Promise<T>,
): Promise<T | null> {
  if (!isAbandoned(await readRecord(state, source))) return null
  const record = await withStateLock(state.stateDirectory, [DIRECTORY], async () => {
    const found = await readRecord(state, source)
    if (found === null || !isAbandoned(found)) return null
    await recordHooks(state, source, { at: found.at, service: found.service })
    return found
  })
  if (record === null) return null
  const value = await work(record)
  await forgetHooks(state, source)
  return value
}

function isAbandoned(record: HookRecord | null): boolean {
  return record !== null && !isRunning(record)
}

async function readRecord({ stateDirectory }: State, source: string): Promise<HookRecord | null> {
  return parsed(await readStateFile(join(stateDirectory, DIRECTORY, fileOf(source))).catch(() => undefined))
}

function fileOf(source: string): string {
  return `${source}.json`
}

/** A record that cannot be read tells nothing; a source with hooks fails later, where it cannot write its own. */
function parsed(text: string | undefined): HookRecord | null {
  if (text === undefined) return null
  try {
    const result = v.safeParse(recordSchema, JSON.parse(text))
    return result.success ? result.output : null
  } catch {
    return null
  }
}
