import { describe, expect, it } from 'vitest'
import { planRetention } from '../../src/policy/retention.js'
import { day, deleted, full, incr, inputOf, kept } from './histories.js'

const daily = (sequence: number) =>
  full(sequence, new Date(Date.UTC(2025, 10, 1, 3) + (sequence - 1) * day).toISOString())
const month = Array.from({ length: 30 }, (_, index) => daily(index + 1))

describe('rules of retention', () => {
  it('refuses an empty policy and gives a command to begin with', () => {
    for (const policy of [{}, { last: 0, daily: 0 }, { within: 0 }, { last: -3 }, { daily: Number.NaN }]) {
      expect(() => planRetention(inputOf(month, policy))).toThrow(
        expect.objectContaining({
          kind: 'refused',
          code: 'empty_policy',
          hint: expect.stringContaining('nexus-backup prune --keep-daily 30'),
        }),
      )
    }
  })

  it('keeps the last ones and says why, and why not', () => {
    const plan = planRetention(inputOf(month, { last: 2 }))
    expect(plan.keep).toEqual([
      { id: 'b29', reasons: ['last 2'] },
      { id: 'b30', reasons: ['last 2', 'newest, for none is proven'] },
    ])
    expect(plan.delete[0]).toEqual({ id: 'b28', reasons: ['last: not among the newest 2'] })
    expect(deleted(plan)).toHaveLength(28)
  })

  it('counts incomplete ones apart, so that they push no complete one out', () => {
    const backups = month.slice(0, 9).map((backup, at) => (at < 4 ? backup : { ...backup, incomplete: true }))
    const plan = planRetention(inputOf(backups, { last: 2 }))
    expect(plan.keep).toEqual([
      { id: 'b3', reasons: ['last 2'] },
      { id: 'b4', reasons: ['last 2', 'newest, for none is proven'] },
      { id: 'b8', reasons: ['last 2 (incomplete, counted apart)'] },
      { id: 'b9', reasons: ['last 2 (incomplete, counted apart)'] },
    ])
    expect(kept(planRetention(inputOf(backups.slice(4), { last: 1 })))).toEqual(['b9'])
  })

  it('keeps the newest of each day in the zone, and does not count days without a backup', () => {
    const backups = [
      full(1, '2025-11-01T10:00:00Z'),
      full(2, '2025-11-05T14:00:00Z'),
      full(3, '2025-11-05T16:00:00Z'),
      full(4, '2025-11-09T01:00:00Z'),
    ]
    expect(kept(planRetention(inputOf(backups, { daily: 3 })))).toEqual(['b1', 'b3', 'b4'])
    const tokyo = planRetention(inputOf(backups, { daily: 3 }, { timezone: 'Asia/Tokyo' }))
    expect(kept(tokyo)).toEqual(['b2', 'b3', 'b4'])
    expect(tokyo.keep[1]?.reasons).toEqual(['daily 2025-11-06'])
    expect(tokyo.delete).toEqual([
      { id: 'b1', reasons: ['daily: 2025-11-01 is not among the newest 3 days with a backup'] },
    ])
  })

  it('keeps both hours that a clock set back calls the same', () => {
    const backups = [
      full(1, '2025-11-02T05:10:00Z'),
      full(2, '2025-11-02T05:50:00Z'),
      full(3, '2025-11-02T06:10:00Z'),
      full(4, '2025-11-02T06:50:00Z'),
    ]
    const plan = planRetention(inputOf(backups, { hourly: 2 }, { timezone: 'America/New_York' }))
    expect(kept(plan)).toEqual(['b2', 'b4'])
    expect(plan.delete.map(({ reasons }) => reasons)).toEqual([
      ['hourly: not the newest of 2025-11-02T01-05:00'],
      ['hourly: not the newest of 2025-11-02T01-04:00'],
    ])
  })

  it('keeps weeks across the end of a year by their ISO name', () => {
    const backups = [
      full(1, '2025-12-28T12:00:00Z'),
      full(2, '2025-12-29T12:00:00Z'),
      full(3, '2025-12-31T12:00:00Z'),
      full(4, '2026-01-04T12:00:00Z'),
      full(5, '2026-01-05T12:00:00Z'),
    ]
    const plan = planRetention(inputOf(backups, { weekly: 9 }, { now: new Date('2026-01-06T00:00:00Z') }))
    expect(kept(plan)).toEqual(['b1', 'b4', 'b5'])
    expect(plan.keep.map(({ reasons }) => reasons[0])).toEqual([
      'weekly 2025-W52',
      'weekly 2026-W01',
      'weekly 2026-W02',
    ])
  })

  it('counts each rule alone and joins them with or', () => {
    const plan = planRetention(inputOf(month, { last: 1, weekly: 2, monthly: 1, yearly: 1 }))
    expect(plan.keep).toEqual([
      { id: 'b23', reasons: ['weekly 2025-W47'] },
      {
        id: 'b30',
        reasons: ['last 1', 'weekly 2025-W48', 'monthly 2025-11', 'yearly 2025', 'newest, for none is proven'],
      },
    ])
  })

  it('measures within from the newest backup, so that nothing is lost when backups stop', () => {
    const plan = planRetention(inputOf(month, { within: 2 * day }, { now: new Date('2035-01-01T00:00:00Z') }))
    expect(kept(plan)).toEqual(['b28', 'b29', 'b30'])
    expect(plan.keep[0]?.reasons).toEqual(['within, since 2025-11-28T03:00:00.000Z'])
    expect(plan.delete[0]?.reasons).toEqual(['within: captured before 2025-11-28T03:00:00.000Z'])
  })

  it('takes a within longer than time itself', () => {
    expect(deleted(planRetention(inputOf(month, { within: Number.MAX_SAFE_INTEGER })))).toEqual([])
  })
})

describe('what retention never deletes', () => {
  it('keeps the chain of a kept backup, and nothing else of it', () => {
    const backups = [
      full(1, '2025-11-01T00:00:00Z'),
      incr(2, '2025-11-02T00:00:00Z', 'b1'),
      incr(3, '2025-11-03T00:00:00Z', 'b2'),
      incr(4, '2025-11-04T00:00:00Z', 'b3'),
      full(5, '2025-11-05T00:00:00Z'),
      incr(6, '2025-11-06T00:00:00Z', 'b5'),
    ]
    const plan = planRetention(inputOf(backups, { last: 1 }, { proven: new Set(['b3']) }))
    expect(plan.keep).toEqual([
      { id: 'b1', reasons: ['needed by b3'] },
      { id: 'b2', reasons: ['needed by b3'] },
      { id: 'b3', reasons: ['last proven'] },
      { id: 'b5', reasons: ['needed by b6'] },
      { id: 'b6', reasons: ['last 1'] },
    ])
    expect(deleted(plan)).toEqual(['b4'])
  })

  it('keeps the last proven backup through any number of newer ones', () => {
    const plan = planRetention(inputOf(month, { last: 3 }, { proven: new Set(['b2', 'b5']) }))
    expect(kept(plan)).toEqual(['b5', 'b28', 'b29', 'b30'])
  })

  it('does not rely on a proof of a backup that is damaged since', () => {
    const wishes = { proven: new Set(['b2', 'b5']), damaged: new Set(['b5']) }
    const plan = planRetention(inputOf(month, { last: 1 }, wishes))
    expect(plan.keep.slice(0, 2)).toEqual([
      { id: 'b2', reasons: ['last proven'] },
      { id: 'b5', reasons: ['left alone: damaged'] },
    ])
  })

  it('leaves damaged and orphaned backups alone, with what they stand on', () => {
    const backups = [
      full(1, '2025-11-01T00:00:00Z'),
      incr(2, '2025-11-02T00:00:00Z', 'b1'),
      incr(3, '2025-11-03T00:00:00Z', 'b2'),
      incr(4, '2025-11-04T00:00:00Z', 'gone'),
      full(5, '2025-11-05T00:00:00Z'),
      full(6, '2025-11-06T00:00:00Z'),
    ]
    const plan = planRetention(inputOf(backups, { last: 1 }, { damaged: new Set(['b2']) }))
    expect(plan.keep.slice(0, 4)).toEqual([
      { id: 'b1', reasons: ['needed by b3'] },
      { id: 'b2', reasons: ['left alone: damaged', 'needed by b3'] },
      { id: 'b3', reasons: ['left alone: its parent b2 is damaged'] },
      { id: 'b4', reasons: ['left alone: its parent gone is missing'] },
    ])
    expect(deleted(plan)).toEqual(['b5'])
  })

  it('does not let a damaged backup stand for its day', () => {
    const backups = [full(1, '2025-11-01T01:00:00Z'), full(2, '2025-11-01T02:00:00Z'), full(3, '2025-11-02T02:00:00Z')]
    expect(kept(planRetention(inputOf(backups, { daily: 2 }, { damaged: new Set(['b2']) })))).toEqual([
      'b1',
      'b2',
      'b3',
    ])
  })

  it('keeps the chain before a directory that was robbed of its manifest', () => {
    const ids = [
      '20251101T000000.000Z-full-0001',
      '20251102T000000.000Z-incr-0002',
      '20251103T000000.000Z-incr-0003',
      '20251104T000000.000Z-full-0004',
      '20251105T000000.000Z-full-0005',
    ] as const
    const backups = [
      full(1, '2025-11-01T00:00:00Z', { id: ids[0] }),
      full(2, '2025-11-02T00:00:00Z', { id: ids[1], type: 'incr', parent: ids[0] }),
      full(4, '2025-11-04T00:00:00Z', { id: ids[3] }),
      full(5, '2025-11-05T00:00:00Z', { id: ids[4] }),
    ]
    const plan = planRetention(inputOf(backups, { last: 1 }, { damaged: new Set([ids[2]]) }))
    expect(plan.keep.slice(0, 2)).toEqual([
      { id: ids[0], reasons: [`needed by ${ids[1]}`] },
      { id: ids[1], reasons: [`may be needed by ${ids[2]}, which is damaged`] },
    ])
    expect(deleted(plan)).toEqual([ids[3]])
    const robbedFull = planRetention(
      inputOf(backups, { last: 1 }, { damaged: new Set(['20251103T000000.000Z-full-0003']) }),
    )
    expect(deleted(robbedFull)).toEqual([ids[3], ids[1], ids[0]])
  })

  it('honours keep_until to the instant', () => {
    const now = new Date('2025-11-10T00:00:00Z')
    const backups = [
      full(1, '2025-11-01T00:00:00Z', { keep_until: 'forever' }),
      full(2, '2025-11-02T00:00:00Z', { keep_until: '2025-11-10T00:00:00.001Z' }),
      full(3, '2025-11-03T00:00:00Z', { keep_until: '2025-11-10T00:00:00.000Z' }),
      full(4, '2025-11-04T00:00:00Z', { keep_until: 'whenever' }),
      full(5, '2025-11-05T00:00:00Z'),
    ]
    const plan = planRetention(inputOf(backups, { last: 1 }, { now }))
    expect(deleted(plan)).toEqual(['b3'])
    expect(plan.keep.map(({ reasons }) => reasons[0])).toEqual([
      'kept for ever',
      'kept until 2025-11-10T00:00:00.001Z',
      'kept until whenever',
      'last 1',
    ])
  })
})

describe('clocks that jump', () => {
  it('gives the true newest their days although a clock set back dates them long ago', () => {
    const late = [31, 32, 33].map(sequence => full(sequence, `2020-01-0${sequence - 30}T00:00:00Z`))
    const plan = planRetention(inputOf([...month, ...late], { daily: 3 }))
    expect(kept(plan)).toEqual(['b28', 'b29', 'b30', 'b31', 'b32', 'b33'])
    expect(kept(planRetention(inputOf([...month, ...late], { within: 2 * day })))).toHaveLength(33)
  })

  it('keeps by within what was made after a kept one, whatever its date', () => {
    const backups = [daily(1), daily(20), full(21, '1999-01-01T00:00:00Z'), daily(22)]
    expect(kept(planRetention(inputOf(backups, { within: 3 * day })))).toEqual(['b20', 'b21', 'b22'])
  })

  it('counts backups from the future apart, so that planted ones push nothing out', () => {
    const planted = Array.from({ length: 9 }, (_, index) => full(31 + index, `209${index}-01-01T00:00:00Z`))
    const plan = planRetention(inputOf([...month, ...planted], { last: 2, yearly: 1 }))
    expect(kept(plan)).toEqual(['b29', 'b30', 'b38', 'b39'])
    expect(plan.keep[2]?.reasons).toEqual(['last 2 (captured in the future, counted apart)'])
    expect(deleted(planRetention(inputOf([...month, ...planted], { within: day })))).toHaveLength(28)
  })

  it('counts backups of a damaged source apart, so that bad days push no good one out', () => {
    const unsound = new Set(['b28', 'b29', 'b30'])
    const plan = planRetention(inputOf(month, { daily: 2 }, { unsound }))
    expect(kept(plan)).toEqual(['b26', 'b27', 'b29', 'b30'])
  })

  it('orders backups of one instant by sequence', () => {
    const backups = [1, 2, 3].map(sequence => full(sequence, '2025-11-01T00:00:00Z'))
    expect(kept(planRetention(inputOf(backups, { daily: 5 })))).toEqual(['b3'])
  })

  it('leaves a backup alone whose time cannot be read', () => {
    const plan = planRetention(inputOf([full(1, 'soon'), ...month.slice(1)], { last: 1 }))
    expect(plan.keep[0]).toEqual({ id: 'b1', reasons: ['left alone: its time of capture cannot be read'] })
  })
})
