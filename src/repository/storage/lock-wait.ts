import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { NexusError } from '../../errors.js'
import type { LockOptions } from './locks.js'

/** How one storage tries a lock, and who holds it meanwhile, in words. */
export interface Attempt<T> {
  /** What came of it; undefined when somebody else holds it. */
  tryTake(): Promise<T | undefined>
  holders(): Promise<string>
}

export interface Pauses {
  /** Two attempts may refuse each other in passing; these pauses (ms) come before any answer or waiting. */
  grace: readonly number[]
  first: number
  longest: number
}

/**
 * Tries until the lock is ours or the time is up; says once whom it waits for.
 * @throws NexusError locked when it stays held, interrupted when the signal ends the waiting
 */
export async function takeOrWait<T>(
  source: string,
  options: LockOptions,
  { grace, first, longest }: Pauses,
  { tryTake, holders }: Attempt<T>,
): Promise<T> {
  for (const delay of grace) {
    const taken = await tryTake()
    if (taken !== undefined) return taken
    await pause(delay + randomInt(10), options.signal)
  }
  let waited = 0
  let delay = first
  const limit = options.waitSeconds * 1000
  for (;;) {
    const taken = await tryTake()
    if (taken !== undefined) return taken
    if (waited >= limit) throw lockedError(source, await holders(), options.waitSeconds)
    if (waited === 0) options.onWait(`${source}: waiting for ${await holders()}`)
    const step = Math.min(delay, limit - waited)
    await pause(step, options.signal)
    waited += step
    delay = Math.min(delay * 1.5, longest)
  }
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal })
  } catch (cause) {
    throw new NexusError('interrupted', 'interrupted', 'interrupted while waiting for a lock', { cause })
  }
}

function lockedError(source: string, holders: string, waited: number): NexusError {
  const after = waited > 0 ? ` after waiting ${waited} seconds` : ''
  return new NexusError('locked', 'locked', `${source} is locked by ${holders}${after}`, {
    hint: `wait for it with --wait SECONDS, for example --wait ${Math.max(600, waited * 2)}`,
  })
}

/** A shared lock of a source that nobody ever backed up. */
export function unknownSource(source: string, location: string): NexusError {
  return new NexusError('not-found', 'source_not_found', `no source ${source} in ${location}`, {
    hint: `see what is there with: nexus-backup list --repo ${location}`,
  })
}
