import { vi } from 'vitest'
import type { Context } from '../../../src/context.js'
import { WorkerPool } from '../../../src/image/workers/pool.js'
import { contextWith } from '../../helpers/context.js'
import { changeDatabase, makeDatabase } from './database.js'
import { type Place, place } from './place.js'

/** A repository of a few kilobytes: a full, a diff and two incrs of a tiny database, a proof of each, and the claim. */
export async function smallRepository(): Promise<Place> {
  const at = place()
  await makeDatabase(at.database, { rows: 3, pageSize: 512 })
  await at.ok('create', ['--init', '--type', 'full'])
  for (const [index, type] of ['diff', 'incr', 'incr'].entries()) {
    await changeDatabase(at.database, index + 1)
    await at.ok('create', ['--type', type])
  }
  await at.ok('verify')
  return at
}

/**
 * One pair of worker threads for thousands of verifications, instead of a pair for each. Everything else runs as it is;
 * the caller keeps proofs from being written (`vi.mock`), for each would be one file more to damage.
 */
export function sharedPool({ keyFile, state: stateDirectory }: Pick<Place, 'keyFile' | 'state'>): {
  context: Context
  stop: () => Promise<void>
} {
  const context = contextWith(keyFile, { now: () => new Date(), stateDirectory })
  const pool = WorkerPool.start(context.signal)
  const stop = pool.stop.bind(pool)
  pool.stop = async () => {}
  const spy = vi.spyOn(WorkerPool, 'start').mockReturnValue(pool)
  return {
    context,
    async stop() {
      spy.mockRestore()
      await stop()
    },
  }
}
