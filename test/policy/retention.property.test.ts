import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { brokenChains, indexById, parentOf } from '../../src/policy/chains.js'
import { planRetention, type RetentionInput } from '../../src/policy/retention.js'
import { deleted, kept, someInput, somePolicy } from './histories.js'

function without(input: RetentionInput, gone: Iterable<string>): RetentionInput {
  const absent = new Set(gone)
  return { ...input, backups: input.backups.filter(({ id }) => !absent.has(id)) }
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((id, index) => id === b[index])
}

function restorableIds(input: RetentionInput): string[] {
  const broken = brokenChains(input.backups, input.damaged)
  return input.backups.filter(({ id }) => !broken.has(id)).map(({ id }) => id)
}

describe('retention, whatever the history', () => {
  const check = (property: (input: RetentionInput) => boolean) =>
    fc.assert(fc.property(someInput, property), { numRuns: 600 })

  it('is tested with histories that have something to delete', () => {
    const plans = fc.sample(someInput, { numRuns: 200, seed: 1 }).map(planRetention)
    expect(plans.filter(plan => plan.delete.length > 1).length).toBeGreaterThan(40)
  })

  it('puts every backup into exactly one list, with a reason', () => {
    check(input => {
      const plan = planRetention(input)
      const everything = [...kept(plan), ...deleted(plan)].sort()
      const reasoned = [...plan.keep, ...plan.delete].every(({ reasons }) => reasons.length > 0)
      return reasoned && same(everything, input.backups.map(({ id }) => id).sort())
    })
  })

  it('never deletes the last proven backup, nor the newest restorable when none is proven', () => {
    check(input => {
      const restorable = new Set(restorableIds(input))
      const newestFirst = input.backups
        .filter(({ id }) => restorable.has(id))
        .sort((a, b) => b.sequence - a.sequence || (a.id < b.id ? 1 : -1))
      const last = newestFirst.find(({ id }) => input.proven.has(id)) ?? newestFirst[0]
      return last === undefined || kept(planRetention(input)).includes(last.id)
    })
  })

  it('never deletes a damaged backup, nor one that damage makes unrestorable', () => {
    check(input => {
      const restorable = new Set(restorableIds(input))
      return deleted(planRetention(input)).every(id => restorable.has(id) && !input.damaged.has(id))
    })
  })

  it('never deletes a parent before its child, so that a stop at any moment leaves no orphan', () => {
    check(input => {
      const byId = indexById(input.backups)
      const gone = new Set<string>()
      const order = deleted(planRetention(input))
      return order.every(id => {
        gone.add(id)
        return input.backups.every(child => {
          const parent = parentOf(child, byId)
          return parent === undefined || gone.has(child.id) || !gone.has(parent.id)
        })
      })
    })
  })

  it('honours keep_until', () => {
    check(input => {
      const gone = new Set(deleted(planRetention(input)))
      return input.backups.every(
        ({ id, keep_until }) =>
          !gone.has(id) || keep_until === null || (keep_until !== 'forever' && new Date(keep_until) <= input.now),
      )
    })
  })

  it('goes on with exactly the rest after a stop at any deletion', () => {
    fc.assert(
      fc.property(someInput, fc.nat(), (input, stop) => {
        const order = deleted(planRetention(input))
        const done = order.slice(0, stop % (order.length + 1))
        return same(deleted(planRetention(without(input, done))), order.slice(done.length))
      }),
      { numRuns: 600 },
    )
  })

  it('deletes nothing when it is planned again after it was carried out', () => {
    check(input => deleted(planRetention(without(input, deleted(planRetention(input))))).length === 0)
  })

  it('deletes no more when rules are added or raised', () => {
    fc.assert(
      fc.property(someInput, somePolicy, (input, more) => {
        const policy = { ...input.policy }
        for (const [rule, count] of Object.entries(more) as [keyof typeof more, number][]) {
          policy[rule] = Math.max(policy[rule] ?? 0, count)
        }
        const before = new Set(deleted(planRetention(input)))
        return deleted(planRetention({ ...input, policy })).every(id => before.has(id))
      }),
      { numRuns: 600 },
    )
  })

  it('lets no backup from the future, nor of a damaged source, push out a sound one', () => {
    check(input => {
      const broken = brokenChains(input.backups, input.damaged)
      const isGood = ({ id, captured_at }: { id: string; captured_at: string }) =>
        !broken.has(id) && !input.unsound.has(id) && new Date(captured_at) <= input.now
      const good = input.backups.filter(isGood)
      const isClosed = good.every(({ type, parent }) => type === 'full' || good.some(({ id }) => id === parent))
      if (!isClosed) return true
      // The same clock for `within`, which counts from the newest of all.
      const policy = { ...input.policy, within: 0, last: Math.max(1, input.policy.last ?? 0) }
      const alone = { ...input, policy, backups: good, damaged: new Set<string>(), proven: new Set<string>() }
      const gone = new Set(deleted(planRetention({ ...input, policy })))
      const [newest] = [...good].sort((a, b) => b.sequence - a.sequence)
      return kept(planRetention(alone)).every(id => !gone.has(id) || id === newest?.id)
    })
  })
})
