import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { planWalRetention } from '../../src/policy/wal-retention.js'
import { basesOfWindow, livingLines, type WalBase, windowStart } from '../../src/policy/wal-window.js'
import { day } from './histories.js'
import { inputOf, reached, type Segment, someWalHistory, type WalHistory } from './wal-histories.js'

interface Case {
  before: WalHistory
  /** Null without keep.pitr. */
  since: number | null
  /** Bases that the other rules keep, beside those that the window hangs on. */
  kept: WalBase[]
}

function someCase(jumps: boolean): fc.Arbitrary<Case> {
  const drawn = {
    before: someWalHistory(jumps),
    pitr: fc.option(fc.integer({ min: 0, max: 20 * day }), { freq: 5 }),
    keeps: fc.array(fc.boolean(), { minLength: 40, maxLength: 40 }),
    rest: fc.integer({ min: 0, max: 3 * day }),
  }
  return fc.record(drawn).map(({ before, pitr, keeps, rest }) => {
    const evidence = [...before.bases.map(({ at }) => at), ...before.segments.map(({ at }) => at)]
    const since = pitr === null ? null : windowStart(pitr, before.now + rest, evidence)
    const lines = since === null ? [] : livingLines(before.bases, before.timelines, since)
    const pinned = basesOfWindow(lines, since ?? 0)
    return { before, since, kept: before.bases.filter(({ id }, index) => keeps[index] || pinned.has(id)) }
  })
}

function prunedBy({ before, since, kept }: Case): { deleted: Set<string>; after: Segment[] } {
  const plan = planWalRetention(inputOf({ ...before, bases: kept }, since))
  const deleted = new Set(plan.delete.map(({ name }) => name))
  return { deleted, after: before.segments.filter(({ name }) => !deleted.has(name)) }
}

function check(jumps: boolean, property: (one: Case) => boolean): void {
  fc.assert(fc.property(someCase(jumps), property), { numRuns: 1500 })
}

describe('retention of WAL, whatever the history', () => {
  it('is tested with histories that have something to delete, on several timelines', () => {
    const cases = fc.sample(someCase(false), { numRuns: 300, seed: 1 })
    const plans = cases.map(one => prunedBy(one).deleted.size)
    expect(plans.filter(deleted => deleted > 5).length).toBeGreaterThan(60)
    expect(cases.filter(({ before }) => before.timelines.length > 2).length).toBeGreaterThan(60)
  })

  it('lets every kept base of the window, and the newest, reach as far as before', () => {
    check(true, one => {
      const { before, since, kept } = one
      const { after } = prunedBy(one)
      const newest = kept.toSorted((a, b) => a.sequence - b.sequence).at(-1)
      const rolling = kept.filter(base => since === null || !(base.at <= since) || base === newest)
      return rolling.every(base =>
        before.timelines.every(
          timeline => reached(base, timeline, before.segments).length === reached(base, timeline, after).length,
        ),
      )
    })
  })

  it('leaves every instant of the window reachable that was reachable from before it', () => {
    check(false, one => {
      const { before, since } = one
      if (since === null) return true
      const { after } = prunedBy(one)
      const anchors = (bases: WalBase[]) => bases.filter(({ at, isSound }) => isSound && at <= since)
      return before.timelines.every(timeline => {
        const young = before.segments.filter(segment => segment.timeline === timeline.timeline && segment.at > since)
        const reach = (bases: WalBase[], segments: Segment[]) =>
          new Set(anchors(bases).flatMap(base => reached(base, timeline, segments)))
        const was = reach(before.bases, before.segments)
        const is = reach(one.kept, after)
        return young.every(({ number }) => !was.has(number) || is.has(number))
      })
    })
  })

  it('never deletes what follows the start of the newest base, nor any history', () => {
    check(true, one => {
      const { deleted } = prunedBy(one)
      const bySequence = one.kept.toSorted((a, b) => a.sequence - b.sequence).at(-1)
      const byTime = one.kept.toSorted((a, b) => a.at - b.at).at(-1)
      if (bySequence === undefined || byTime === undefined) return deleted.size === 0
      return one.before.files.every(({ name, span }) => {
        if (!deleted.has(name)) return true
        return span !== null && span.to <= bySequence.start && span.to <= byTime.start
      })
    })
  })

  it('deletes nothing that any kept base could read where keep.pitr is not set', () => {
    check(true, one => {
      if (one.since !== null) return true
      const { deleted } = prunedBy(one)
      return one.before.segments.every(
        ({ name, span }) => !deleted.has(name) || one.kept.every(({ start }) => (span?.to ?? 0n) <= start),
      )
    })
  })

  it('deletes oldest first, and after a stop at any deletion goes on with exactly the rest', () => {
    fc.assert(
      fc.property(someCase(true), fc.nat(), (one, stop) => {
        const bases = one.kept
        const order = planWalRetention(inputOf({ ...one.before, bases }, one.since)).delete
        const isSorted = order.every((file, at) => {
          const next = order[at + 1]
          return !next?.span || !file.span || file.span.from <= next.span.from
        })
        const done = order.slice(0, stop % (order.length + 1))
        const files = one.before.files.filter(file => !done.includes(file))
        const again = planWalRetention(inputOf({ ...one.before, bases, files }, one.since)).delete
        return isSorted && again.length === order.length - done.length && again.every(file => order.includes(file))
      }),
      { numRuns: 1500 },
    )
  })

  it('deletes no more when the window is longer, the clock set back, or a base from the future there', () => {
    fc.assert(
      fc.property(someCase(true), fc.integer({ min: 0, max: 40 * day }), (one, earlier) => {
        const { before, since } = one
        if (since === null) return true
        const plan = (from: number, bases: WalBase[]) =>
          planWalRetention(inputOf({ ...before, bases }, from)).delete.map(({ name }) => name)
        const usual = new Set(plan(since, before.bases))
        const longer = plan(since - earlier, before.bases)
        const future = before.bases.map((base, index) =>
          index % 3 === 0 ? { ...base, at: before.now + 5 * day } : base,
        )
        const fewer = new Set(plan(since, future))
        return longer.every(name => usual.has(name)) && [...fewer].every(name => usual.has(name))
      }),
      { numRuns: 1500 },
    )
  })
})
