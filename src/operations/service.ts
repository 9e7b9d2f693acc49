import { errnoOf, messageOf, NexusError } from '../errors.js'
import { noSecrets } from '../secret-variables.js'

/**
 * Runs `work` while a systemd unit is stopped, and starts the unit again whatever came of it.
 *
 * @param unit null to run `work` only
 * @param done what to tell of work that is done when the unit does not start
 * @throws NexusError `failed` (`service_failed`) when the unit cannot be stopped, `work` then not being run, or not be
 *   started again
 */
export async function withServiceStopped<T>(
  unit: string | null,
  work: () => Promise<T>,
  done: (value: T) => string,
): Promise<T> {
  if (unit === null) return work()
  await stopService(unit, 'nothing was replaced; ')
  let value: T
  try {
    value = await work()
  } catch (error) {
    await startAfter(unit, error)
    throw error
  }
  try {
    await startService(unit)
  } catch (error) {
    const message = `${done(value)}, but ${messageOf(error)}`
    throw new NexusError('failed', 'service_failed', message, { ...hintOf(error), cause: error })
  }
  return value
}

/**
 * Starts the unit that a killed restore had stopped, when it is the one that the configuration names: the record of that
 * restore lies beside the data, and a unit is not started on its word alone.
 *
 * @param configured the source's own unit
 * @param stopped the unit in the record
 * @returns what to say of it
 * @throws NexusError `failed` (`service_failed`)
 */
export async function restartStopped(configured: string | null, stopped: string | null): Promise<string> {
  if (stopped === null) return ''
  if (stopped !== configured) {
    return `; its record says that ${JSON.stringify(stopped)} was stopped, which is not the source's service and was not started`
  }
  await startService(stopped)
  return `; ${stopped} was started again`
}

/** Starts a systemd unit. @throws NexusError `failed` (`service_failed`) */
export async function startService(unit: string): Promise<void> {
  await systemctl('start', unit, `start it by hand: systemctl start ${unit}; see: `)
}

/** What systemctl calls a unit that need not be stopped; one that is about to start must be. */
const IDLE: ReadonlySet<string> = new Set(['inactive', 'failed', 'unknown'])

/** Whether a unit runs or is about to. @throws NexusError `failed` (`service_failed`) where there is no systemctl */
export async function isServiceRunning(unit: string): Promise<boolean> {
  const { execa } = await import('execa')
  const options = { env: noSecrets, stdin: 'ignore', reject: false } as const
  const result = await execa('systemctl', ['is-active', '--', unit], options)
  if (result.exitCode === undefined) await systemctl('is-active', unit, 'see: ')
  return result.exitCode === 0 || !IDLE.has(result.stdout.trim())
}

/**
 * Stops a systemd unit. One that could not be stopped may have been stopped half-way: it must not stay like that.
 *
 * @param consequence what to say of it in the hint
 * @throws NexusError `failed` (`service_failed`)
 */
export async function stopService(unit: string, consequence = ''): Promise<void> {
  try {
    await systemctl('stop', unit, `${consequence}see: `)
  } catch (error) {
    await startService(unit).catch(() => {})
    throw error
  }
}

/** Both must be told: what failed, and that the application is down. */
async function startAfter(unit: string, error: unknown): Promise<void> {
  try {
    await startService(unit)
  } catch (second) {
    if (!(error instanceof NexusError)) throw error
    const message = `${error.message}; and ${messageOf(second)}`
    throw new NexusError(error.kind, error.code, message, { ...hintOf(second), cause: error })
  }
}

function hintOf(error: unknown): { hint?: string } {
  return error instanceof NexusError && error.hint !== undefined ? { hint: error.hint } : {}
}

async function systemctl(verb: 'stop' | 'start' | 'is-active', unit: string, hint: string): Promise<void> {
  const { execa } = await import('execa')
  try {
    // Detached: Ctrl-C reaches every process of the terminal's group, and a unit half stopped would stay down.
    await execa('systemctl', [verb, '--', unit], { env: noSecrets, stdin: 'ignore', detached: true })
  } catch (error) {
    const stderr = (error as { stderr?: unknown }).stderr
    const why =
      errnoOf(error) === 'ENOENT'
        ? 'there is no systemctl on this machine'
        : typeof stderr === 'string' && stderr !== ''
          ? stderr.trim()
          : messageOf(error)
    throw new NexusError('failed', 'service_failed', `systemctl could not ${verb} ${unit}: ${why}`, {
      hint: `${hint}systemctl status ${unit}`,
      cause: error,
    })
  }
}
