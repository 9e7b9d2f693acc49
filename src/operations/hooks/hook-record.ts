import { renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import * as v from 'valibot'
import type { Context } from '../../context.js'
import { errnoOf, messageOf, NexusError } from '../../errors.js'
import { isRunning, thisProcess } from '../restoring-process.js'
import { inStateDirectory } from '../state-directory.js'
import { readStateFile, writeStateFile } from '../state-file.js'

const DIRECTORY = 'hooks'

const recordSchema = v.object({
  pid: v.pipe(v.number(), v.integer()),
  started: v.string(),
  /** When the hooks began. */
  at: v.string(),
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

/** Both hooks of this run have ended. */
export async function forgetHooks({ stateDirectory }: State, source: string): Promise<void> {
  await inStateDirectory(stateDirectory, [DIRECTORY], async directory => {
    rmSync(directory.at(fileOf(source)), { force: true })
  })
}

/**
 * Takes the record of a run that was killed between its hooks: of several runs one gets it.
 *
 * @param work has done what is to be done when it returns; where it throws, the record stays for the next run
 * @returns null where there is none
 */
export async function withAbandonedHooks<T>(
  { stateDirectory }: State,
  source: string,
  work: (record: HookRecord) => Promise<T>,
): Promise<T | null> {
  const record = parsed(await readStateFile(join(stateDirectory, DIRECTORY, fileOf(source))).catch(() => undefined))
  if (record === null || isRunning(record)) return null
  return inStateDirectory(stateDirectory, [DIRECTORY], async directory => {
    const [file, claimed] = [directory.at(fileOf(source)), directory.at(`${fileOf(source)}.taken-${process.pid}`)]
    try {
      renameSync(file, claimed)
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return null
      throw error
    }
    try {
      const value = await work(record)
      rmSync(claimed, { force: true })
      return value
    } catch (error) {
      renameSync(claimed, file)
      throw error
    }
  })
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
