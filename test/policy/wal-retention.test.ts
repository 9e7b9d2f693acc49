import { describe, expect, it } from 'vitest'
import { emptyPolicy, planRetention } from '../../src/policy/retention.js'
import { isEmptyPolicy } from '../../src/policy/rules.js'
import { planWalRetention, type WalFile } from '../../src/policy/wal-retention.js'
import { basesOfWindow, livingLines, type WalTimeline, windowStart } from '../../src/policy/wal-window.js'
import { inputOf as backupsOf, day, full, kept } from './histories.js'
import { base, history, inputOf, segment, segmentBytes } from './wal-histories.js'

const now = Date.UTC(2025, 11, 31)
const since = now - 14 * day
const ago = (days: number) => now - days * day
const first: WalTimeline = { timeline: 1, ancestors: [], lastArchived: now }
const range = (from: number, to: number, timeline = 1): WalFile[] =>
  Array.from({ length: to - from + 1 }, (_, index) => segment(timeline, from + index))
const names = (files: readonly WalFile[]) => files.map(({ name }) => name)

describe('retention of WAL', () => {
  const bases = [
    base('b1', ago(40), 1, 4),
    base('b2', ago(20), 1, 8),
    base('b3', ago(15), 1, 12),
    base('b4', ago(3), 1, 20),
  ]
  const files = range(1, 25)

  it('begins with the oldest kept base where keep.pitr is not set', () => {
    const plan = planWalRetention(inputOf({ bases, timelines: [first], files }, null))
    expect(plan.keepFrom?.id).toBe('b1')
    expect(names(plan.delete)).toEqual(names(range(1, 3)))
    expect(plan.reasons).toEqual(['from b1 on, the oldest base that is kept'])
  })

  it('begins with the newest base from before the window of keep.pitr; older ones become points', () => {
    const plan = planWalRetention(inputOf({ bases, timelines: [first], files }, since))
    expect(plan.keepFrom?.id).toBe('b3')
    expect(names(plan.delete)).toEqual(names(range(1, 11)))
    expect(plan.reasons).toEqual([
      'pitr: the window since 2025-12-17T00:00:00.000Z begins with b3',
      'b1 is a point, not the beginning of a window',
      'b2 is a point, not the beginning of a window',
    ])
  })

  it('begins with the oldest kept base as long as none is older than the window', () => {
    const young = bases.slice(3)
    const plan = planWalRetention(inputOf({ bases: young, timelines: [first], files }, since))
    expect(plan.keepFrom?.id).toBe('b4')
    expect(plan.reasons[0]).toContain('has no base from before it')
  })

  it('relies on no damaged base, and keeps the WAL of damaged ones inside the window', () => {
    const damaged = bases.map(one => (one.id === 'b3' ? { ...one, isSound: false } : one))
    expect(planWalRetention(inputOf({ bases: damaged, timelines: [first], files }, since)).keepFrom?.id).toBe('b2')
  })

  it('keeps everything beside a damaged backup that does not say where it begins, unless the window is certain', () => {
    const lost = [{ id: 'b0', at: ago(50) }]
    const without = planWalRetention(inputOf({ bases, timelines: [first], files }, null, { lost }))
    expect(without).toMatchObject({ keepFrom: null, delete: [], reasons: [expect.stringContaining('b0 is damaged')] })
    expect(planWalRetention(inputOf({ bases, timelines: [first], files }, since, { lost })).keepFrom?.id).toBe('b3')
    const later = [{ id: 'b0', at: ago(30) }]
    expect(planWalRetention(inputOf({ bases, timelines: [first], files }, null, { lost: later })).keepFrom?.id).toBe(
      'b1',
    )
  })

  it('lets .backup and .partial go with their segment, and keeps the histories', () => {
    const { span } = segment(1, 5)
    const others: WalFile[] = [
      { name: '1/5.00000028.backup', timeline: 1, span },
      { name: '1/5.partial', timeline: 1, span },
      history(2),
    ]
    const plan = planWalRetention(inputOf({ bases, timelines: [first], files: [...others, ...files] }, since))
    expect(names(plan.delete).slice(4, 7)).toEqual(['1/5', '1/5.00000028.backup', '1/5.partial'])
    expect(names(plan.delete)).not.toContain('2.history')
  })

  it('keeps all WAL of a system without bases, and none of one that is past', () => {
    const all = [history(3), history(2), ...range(7, 8, 2), ...range(5, 6)]
    expect(planWalRetention(inputOf({ bases: [], timelines: [first], files: all }, since)).delete).toEqual([])
    const past = planWalRetention(inputOf({ bases: [], timelines: [first], files: all }, since, { superseded: 'past' }))
    expect(names(past.delete)).toEqual(['1/5', '1/6', '2/7', '2/8', '3.history', '2.history'])
    expect(past).toMatchObject({ keepFrom: null, reasons: ['past'] })
  })

  it('keeps the WAL of a system before pg_upgrade from its newest base on, as long as that one is kept', () => {
    const old = [base('b1', ago(300), 1, 4), base('b2', ago(200), 1, 8)]
    const past = { ...first, lastArchived: ago(190) }
    const plan = planWalRetention(inputOf({ bases: old, timelines: [past], files }, since))
    expect(names(plan.delete)).toEqual(names(range(1, 7)))
    expect(plan.reasons[0]).toBe('from b2 on, the newest base of this system')
  })
})

describe('retention of WAL over several timelines', () => {
  const second: WalTimeline = {
    timeline: 2,
    ancestors: [{ timeline: 1, until: 6n * segmentBytes + 8n }],
    lastArchived: now,
  }

  it('keeps what leads to the instants after a recovery that went back before the last base', () => {
    const bases = [base('b1', ago(40), 1, 4), base('b2', ago(15), 1, 20), base('b3', ago(5), 2, 9)]
    const files = [...range(1, 22), ...range(6, 12, 2), history(2)]
    const plan = planWalRetention(
      inputOf({ bases, timelines: [{ ...first, lastArchived: ago(14.5) }, second], files }, since),
    )
    expect(plan.keepFrom?.id).toBe('b1')
    expect(names(plan.delete)).toEqual(['1/1', '1/2', '1/3'])
  })

  it('lets go of what only a timeline needs that was left before the window', () => {
    const bases = [base('b1', ago(60), 1, 4), base('b2', ago(50), 1, 20), base('b3', ago(20), 2, 9)]
    const timelines = [{ ...first, lastArchived: ago(49) }, second]
    const plan = planWalRetention(inputOf({ bases, timelines, files: [...range(1, 22), ...range(6, 12, 2)] }, since))
    expect(plan.keepFrom?.id).toBe('b3')
    expect(names(plan.delete)).toEqual(['1/1', '1/2', '1/3', '1/4', '1/5', '1/6', '2/6', '1/7', '2/7', '1/8', '2/8'])
  })

  it('trusts no ancestry that no history file tells', () => {
    const bases = [base('b1', ago(40), 1, 4), base('b2', ago(5), 2, 9)]
    const unknown = { ...second, ancestors: [] }
    const plan = planWalRetention(
      inputOf({ bases, timelines: [{ ...first, lastArchived: ago(20) }, unknown], files: range(1, 9) }, since),
    )
    expect(plan.keepFrom?.id).toBe('b1')
  })
})

describe('the window of keep.pitr', () => {
  it('reaches back from now, or from the newest that was captured or archived when the clock is far ahead', () => {
    expect(windowStart(14 * day, now, [ago(1), ago(3)])).toBe(ago(15))
    expect(windowStart(14 * day, now, [now + 5 * day])).toBe(since)
    expect(windowStart(14 * day, now, [])).toBe(since)
    expect(windowStart(14 * day, now + 3000 * day, [ago(0)])).toBe(since)
  })

  it('keeps the base it begins with and the one it will begin with, whatever the other rules', () => {
    const days = [40, 16, 15, 10, 5, 1]
    const backups = days.map((age, index) => full(index + 1, new Date(ago(age)).toISOString()))
    const bases = days.map((age, index) => base(`b${index + 1}`, ago(age), 1, index + 1))
    const pinned = basesOfWindow(livingLines(bases, [first], since), since)
    const plan = planRetention(backupsOf(backups, { last: 1, pitr: 14 * day }, { pinned, now: new Date(now) }))
    expect(kept(plan)).toEqual(['b3', 'b4', 'b6'])
    expect(plan.keep.map(({ reasons }) => reasons[0])).toEqual([
      'pitr: the window since 2025-12-17T00:00:00.000Z begins with it',
      'pitr: the window will begin with it, now since 2025-12-17T00:00:00.000Z',
      'last 1',
    ])
  })

  it('holds at every prune with only young bases kept, and WAL does not pile up', () => {
    let bases: ReturnType<typeof base>[] = []
    for (let today = 1; today <= 200; today++) {
      const at = now + today * day
      bases.push(base(`b${today}`, at, 1, today * 10))
      const from = windowStart(14 * day, at, [at])
      const pinned = basesOfWindow(livingLines(bases, [{ ...first, lastArchived: at }], from), from)
      const backups = bases.map(({ id, sequence, at: captured }) => ({
        ...full(sequence, new Date(captured).toISOString()),
        id,
      }))
      const plan = planRetention(backupsOf(backups, { last: 2, pitr: 14 * day }, { pinned, now: new Date(at) }))
      bases = bases.filter(({ id }) => kept(plan).includes(id))
      const oldest = bases[0]?.at ?? Number.NaN
      if (today > 14) expect(oldest).toBeLessThanOrEqual(from)
      expect(at - oldest).toBeLessThan(29 * day)
      expect(bases.length).toBeLessThanOrEqual(4)
    }
  })

  it('is no policy by itself: the refusal says which key to add', () => {
    expect(isEmptyPolicy({ pitr: 14 * day })).toBe(true)
    expect(emptyPolicy(['db'], true)).toMatchObject({
      kind: 'refused',
      code: 'empty_policy',
      message: expect.stringContaining('for db keeps WAL (keep.pitr) but no backup'),
      hint: expect.stringContaining('daily: 30'),
    })
  })
})
