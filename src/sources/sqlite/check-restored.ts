import { rmSync } from 'node:fs'
import { messageOf, NexusError } from '../../errors.js'
import { Pin } from './pin.js'
import { existingSidecars } from './swap.js'

/** A check of a restored database, compared with what the backup recorded. */
export interface RestoredCheck {
  name: string
  /** `error`: it could not be run, for a reason that says nothing of the database. */
  status: 'ok' | 'failed' | 'error'
  detail: string
}

/**
 * Runs integrity_check and the backup's content checks on a restored file that nobody else knows yet. A content check
 * passes when its result equals the one recorded at capture. Files that SQLite makes beside it are removed.
 *
 * Nothing is thrown for what is found or could not be done: every byte of the file was compared with its digest before, and
 * neither is a reason to keep it from anybody.
 */
export async function checkRestored(
  path: string,
  recorded: { checks: readonly { name: string; kind: 'integrity' | 'content'; detail: string; status: string }[] },
  signal: AbortSignal,
): Promise<RestoredCheck[]> {
  try {
    return await checkPinned(path, recorded, signal)
  } catch (error) {
    signal.throwIfAborted()
    const isWrong = error instanceof NexusError && (error.code === 'source_damaged' || error.code === 'not_a_database')
    return [{ name: 'integrity_check', status: isWrong ? 'failed' : 'error', detail: messageOf(error) }]
  }
}

async function checkPinned(...[path, recorded, signal]: Parameters<typeof checkRestored>): Promise<RestoredCheck[]> {
  const queries = recorded.checks.filter(({ kind }) => kind === 'content').map(({ name }) => name)
  const before = new Map(recorded.checks.map(check => [check.name, check]))
  const pin = await Pin.on(path, signal)
  try {
    const outcomes = await pin.check('integrity', queries)
    return outcomes.map(({ name, kind, status, detail }) => {
      const earlier = before.get(name)
      if (kind !== 'content' || status !== 'ok' || earlier === undefined || earlier.detail === detail) {
        return { name, status, detail }
      }
      return { name, status: 'failed', detail: `returned ${detail}, at the time of the backup ${earlier.detail}` }
    })
  } finally {
    await pin.release()
    for (const name of existingSidecars(path)) rmSync(name, { force: true })
  }
}
