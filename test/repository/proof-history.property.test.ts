import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  damagedByProof,
  drillMarks,
  type ProofOutcome,
  provenBackups,
  unsoundBackups,
} from '../../src/policy/proven.js'
import { condense, isToCome } from '../../src/repository/proof-history.js'
import type { PastOutcome } from '../../src/repository/types.js'

const start = Date.UTC(2025, 10, 1)
const day = 86_400_000
const id = 'b1'

const outcome = fc.record({
  /** Days after the start; the clock that judges stands at 20. */
  at: fc.integer({ min: 0, max: 40 }).map(days => new Date(start + days * day).toISOString()),
  status: fc.constantFrom('ok', 'damaged', 'unread', 'source-damaged', 'drill-failed'),
  level: fc.constantFrom('stored', 'content', 'drill'),
})

/** What is judged of a backup and of one that stands on it, at some day. */
function judged(outcomes: readonly PastOutcome[], now: Date) {
  const proofs: ProofOutcome[] = outcomes.filter(({ at }) => !isToCome(at, now)).map(past => ({ id, ...past }))
  const common = { damaged_source: false, checks: [{ status: 'ok' as const }] }
  const backups = [
    { id, sequence: 1, type: 'full' as const, parent: null, ...common },
    { id: 'b2', sequence: 2, type: 'incr' as const, parent: id, ...common },
  ]
  const damaged = damagedByProof(proofs, now)
  return {
    damaged,
    drills: drillMarks(proofs),
    unsound: unsoundBackups(backups, proofs),
    proven: provenBackups(backups, proofs, new Set(damaged.keys()), now),
  }
}

test('whatever is judged by a history stays as it is when only what counts of it is kept', () => {
  const now = new Date(start + 20 * day)
  fc.assert(
    fc.property(fc.array(outcome, { maxLength: 40 }), fc.integer({ min: 0, max: 40 }), (outcomes, cut) => {
      const atOnce = condense(outcomes, now)
      expect(atOnce.length).toBeLessThanOrEqual(30)
      expect(judged(atOnce, now)).toEqual(judged(outcomes, now))
      // As runs do it: each condenses what the last one has kept and what is new.
      const stepwise = condense([...condense(outcomes.slice(0, cut), now), ...outcomes.slice(cut)], now)
      expect(judged(stepwise, now)).toEqual(judged(outcomes, now))
    }),
    { numRuns: 500 },
  )
})

test('what is of a time to come counts when its time has come, the nearest first', () => {
  const now = new Date(start)
  const past = (days: number, status: PastOutcome['status']) =>
    ({ at: new Date(start + days * day).toISOString(), status, level: 'stored' }) as const
  const kept = condense([past(-1, 'ok'), past(9, 'damaged'), past(3, 'damaged')], now)
  expect(kept).toEqual([past(-1, 'ok'), past(3, 'damaged')])
  expect([...judged(kept, now).proven]).toEqual([id])
  expect([...judged(kept, new Date(start + 4 * day)).damaged.keys()]).toEqual([id])
})
