import type { HookCommand, HookSettings, SourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import type { Concern } from '../results.js'
import { isServiceRunning, startService, stopService } from '../service.js'
import { forgetHooks, recordHooks, withAbandonedHooks } from './hook-record.js'
import { runHook } from './run-hook.js'
import { assertTrustedHooks } from './trusted-hook.js'

/** What became of the work between two hooks, in NEXUS_BACKUP_OUTCOME. */
type Outcome = 'done' | 'failed' | 'interrupted' | 'killed'

const NO_HOOKS: HookSettings = { before: null, after: null, file: null }

/** Whether anything is to be done before and after a source is read. */
export function hasHooks({ hooks, stopService: stops }: SourceSettings): boolean {
  return hooks !== undefined || stops === true
}

/**
 * Does what an earlier run was killed before it could do: starts the service that it stopped, and runs the hook after.
 *
 * @returns what to tell of it
 * @throws NexusError `failed` (`service_failed`), `refused` (`hook_untrusted`)
 */
export async function finishAbandonedHooks(context: Context, source: SourceSettings): Promise<Concern[]> {
  const { name, service, hooks = NO_HOOKS } = source
  if (hasHooks(source)) await assertTrustedHooks(name, hooks)
  const told = await withAbandonedHooks(context, name, async record => {
    const done: string[] = []
    if (record.service !== null && record.service === service) {
      await startService(service)
      done.push(`${service} was started again`)
    } else if (record.service !== null) {
      const unit = JSON.stringify(record.service)
      done.push(`${unit}, which it had stopped, is not the source's service any more and was not started`)
    }
    if (hooks.after !== null) {
      const problem = await afterwards(context, { source: name, hook: hooks.after, outcome: 'killed' })
      done.push(problem === null ? 'its hook after was run now' : messageOf(problem))
    }
    const what = done.length === 0 ? 'nothing of it could be undone' : done.join(', and ')
    return `${name}: the run that began at ${record.at} was killed between its hooks before and after: ${what}`
  })
  if (told === null) return []
  context.warn(told)
  const hint = 'see that the application is as it should be; the next run says no more of it'
  return [{ source: name, code: 'hook_interrupted', message: told, hint }]
}

/**
 * Runs `work` between the hooks of a source, with its service stopped where that is asked for. Once the hook before has
 * begun, the service is started and the hook after is run in any case.
 *
 * @param idOf the backup that came of the work
 * @returns what of that did not go well although the work is done
 * @throws NexusError `failed` (`hook_failed`, `service_failed`, `state_unusable`), and what `work` throws
 */
export async function withHooks<T>(
  context: Context,
  source: SourceSettings,
  work: () => Promise<T>,
  idOf: (value: T) => string,
): Promise<{ value: T; concerns: Concern[] }> {
  if (!hasHooks(source)) return { value: await work(), concerns: [] }
  const around = new Around(context, source)
  let value: T
  try {
    await around.begin()
    value = await work()
  } catch (error) {
    if (!context.signal.aborted) throw joined(error, await around.end('failed', {}))
    // The run's own error says no more than that it was stopped.
    for (const problem of await around.end('interrupted', {})) context.warn(messageOf(problem))
    throw error
  }
  const problems = await around.end('done', { NEXUS_BACKUP_ID: idOf(value) })
  return { value, concerns: problems.map(problem => concernOf(source.name, problem, idOf(value))) }
}

class Around {
  readonly #context: Context
  readonly #source: SourceSettings
  readonly #hooks: HookSettings
  #hasBegun = false
  #stopped: string | null = null

  constructor(context: Context, source: SourceSettings) {
    this.#context = context
    this.#source = source
    this.#hooks = source.hooks ?? NO_HOOKS
  }

  async begin(): Promise<void> {
    const { name, service, stopService: stops } = this.#source
    const at = this.#context.now().toISOString()
    this.#context.signal.throwIfAborted()
    await recordHooks(this.#context, name, { at, service: null })
    this.#hasBegun = true
    const { before } = this.#hooks
    if (before !== null) {
      const variables = { NEXUS_BACKUP_SOURCE: name, NEXUS_BACKUP_HOOK: 'before' }
      const { signal } = this.#context
      await runHook(this.#context, { source: name, when: 'before', hook: before, variables, signal })
    }
    if (stops !== true || service === null || !(await isServiceRunning(service))) return
    await recordHooks(this.#context, name, { at, service })
    this.#stopped = service
    await stopService(service)
  }

  /** @returns what went wrong */
  async end(outcome: Outcome, variables: Record<string, string>): Promise<unknown[]> {
    if (!this.#hasBegun) return []
    const { name: source } = this.#source
    const problems: unknown[] = []
    if (this.#stopped !== null) await startService(this.#stopped).catch((error: unknown) => problems.push(error))
    const { after: hook } = this.#hooks
    const problem = hook === null ? null : await afterwards(this.#context, { source, hook, outcome, variables })
    if (problem !== null) problems.push(problem)
    await forgetHooks(this.#context, source).catch((error: unknown) => problems.push(error))
    return problems
  }
}

/** Runs a hook after. A signal that had come before it leaves it its time; one that comes meanwhile ends it. */
async function afterwards(
  context: Context,
  after: { source: string; hook: HookCommand; outcome: Outcome; variables?: Record<string, string> },
): Promise<unknown> {
  const { source, hook, outcome } = after
  const signal = context.signal.aborted ? new AbortController().signal : context.signal
  const variables = {
    NEXUS_BACKUP_SOURCE: source,
    NEXUS_BACKUP_HOOK: 'after',
    NEXUS_BACKUP_OUTCOME: outcome,
    ...after.variables,
  }
  try {
    await runHook(context, { source, when: 'after', hook, variables, signal })
    return null
  } catch (error) {
    if (!signal.aborted) return error
    const message = `${source}: its hook after was ended by a signal`
    return new NexusError('failed', 'hook_failed', message, { hint: 'run it by hand where it must be finished' })
  }
}

function concernOf(source: string, problem: unknown, id: string): Concern {
  const { code, hint } = problem instanceof NexusError ? problem : { code: 'hook_failed', hint: undefined }
  const message = `${id} is made, but ${messageOf(problem)}`
  return { source, code, message, hint: hint ?? 'see what it says; the backup is kept' }
}

/** All must be told: why there is no backup, and what was not put right again. */
function joined(error: unknown, problems: readonly unknown[]): unknown {
  if (problems.length === 0) return error
  const message = [error, ...problems].map(messageOf).join('; and ')
  const known = error instanceof NexusError ? error : new NexusError('failed', 'unexpected', messageOf(error))
  const hints = [error, ...problems].flatMap(one => (one instanceof NexusError ? (one.hint ?? []) : []))
  return new NexusError(known.kind, known.code, message, { hint: hints.join('; '), cause: error })
}
