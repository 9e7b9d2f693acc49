import { rmSync } from 'node:fs'
import { Pin } from './pin.js'
import { existingSidecars } from './swap.js'

/** A check of a restored database, compared with what the backup recorded. */
export interface RestoredCheck {
  name: string
  status: 'ok' | 'failed'
  detail: string
}

/**
 * Runs integrity_check and the backup's content checks on a restored file that nobody else knows yet. A content check
 * passes when its result equals the one recorded at capture. Files that SQLite makes beside it are removed.
 */
export async function checkRestored(
  path: string,
  recorded: { checks: readonly { name: string; kind: 'integrity' | 'content'; detail: string; status: string }[] },
  signal: AbortSignal,
): Promise<RestoredCheck[]> {
  const queries = recorded.checks.filter(({ kind }) => kind === 'content').map(({ name }) => name)
  const before = new Map(recorded.checks.map(check => [check.name, check]))
  const pin = await Pin.on(path, signal)
  try {
    const outcomes = await pin.check('integrity', queries)
    return outcomes.map(({ name, kind, status, detail }) => {
      const earlier = before.get(name)
      if (kind !== 'content' || status === 'failed' || earlier === undefined || earlier.detail === detail) {
        return { name, status, detail }
      }
      return { name, status: 'failed', detail: `returned ${detail}, at the time of the backup ${earlier.detail}` }
    })
  } finally {
    await pin.release()
    for (const name of existingSidecars(path)) rmSync(name, { force: true })
  }
}
