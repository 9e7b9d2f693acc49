import { setTimeout as sleep } from 'node:timers/promises'
import type { Context } from '../context.js'
import { NexusError } from '../errors.js'
import { isRunning, nameRestore, type RestoringProcess } from './restoring-process.js'

/** Milliseconds between two looks: as a lock is waited for. */
const firstDelay = 100
const longestDelay = 1000
const SUGGESTED_SECONDS = 600

/**
 * Waits for another run, as long as `--wait` allows, where what it holds is no lock: a restore in place is known by its
 * record beside the target, a reader of a database by its open descriptor.
 *
 * @param source its name, for messages
 * @param holder names who holds it now, in words; null when nobody does
 * @param code of the error
 * @throws NexusError `locked` naming the holder, `interrupted` when a signal ends the waiting
 */
export async function waitForRun(
  context: Context,
  { source, code, holder }: { source: string; code: string; holder: () => string | null },
): Promise<void> {
  const limit = context.lockWaitSeconds * 1000
  let waited = 0
  let delay = firstDelay
  for (let who = holder(); who !== null; who = holder()) {
    if (waited >= limit) throw stillHeld(context, source, code, who)
    if (waited === 0) context.warn(`${source}: waiting for ${who}`)
    const step = Math.min(delay, limit - waited)
    await pause(step, context.signal)
    waited += step
    delay = Math.min(delay * 1.5, longestDelay)
  }
}

/**
 * Waits for a restore in place that runs, by its record.
 *
 * @param record reads it anew; null when there is none
 * @throws NexusError `locked` (`restore_running`), and as `waitForRun`
 */
export function waitForRestore(context: Context, source: string, record: () => RestoringProcess | null): Promise<void> {
  const holder = () => {
    const running = record()
    return running !== null && isRunning(running) ? nameRestore(running) : null
  }
  return waitForRun(context, { source, code: 'restore_running', holder })
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal })
  } catch (cause) {
    throw new NexusError('interrupted', 'interrupted', 'interrupted while waiting for another run', { cause })
  }
}

function stillHeld({ lockWaitSeconds }: Context, source: string, code: string, who: string): NexusError {
  const after = lockWaitSeconds > 0 ? ` after waiting ${lockWaitSeconds} seconds` : ''
  return new NexusError('locked', code, `${source} is held by ${who}${after}`, {
    hint: `wait for it with --wait SECONDS, for example --wait ${Math.max(SUGGESTED_SECONDS, lockWaitSeconds * 2)}`,
  })
}
