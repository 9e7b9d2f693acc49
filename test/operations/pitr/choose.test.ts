import { describe, expect, it } from 'vitest'
import {
  candidateForEnd,
  candidateForPosition,
  candidateForTime,
  candidatesForSearch,
  walOf,
} from '../../../src/operations/pitr/choose.js'
import { followedLine } from '../../../src/operations/pitr/latest.js'
import { resolveEnd, resolvePosition, resolveTime } from '../../../src/operations/pitr/resolve.js'
import { formatLsn } from '../../../src/sources/postgres/wal-names.js'
import { base, minute, system, within } from './histories.js'

const bases = [base('one', 10), base('two', 20), base('three', 30)]
const whole = system(bases, { 1: [[5, 40]] })

describe('the base for an instant', () => {
  it('is the newest captured not after it', () => {
    expect(candidateForTime([whole], minute(20), 'latest').base.id).toBe('two')
    expect(candidateForTime([whole], minute(29.9), 'latest').base.id).toBe('two')
    expect(candidateForTime([whole], minute(99), 'latest').base.id).toBe('three')
  })

  it('is not found before the first one', () => {
    expect(() => candidateForTime([whole], minute(9), 'latest')).toThrow(
      expect.objectContaining({
        kind: 'not-found',
        code: 'target_too_early',
        hint: expect.stringContaining('points shop'),
      }),
    )
  })

  it('passes over one that is damaged, and says so', () => {
    const damaged = system([base('one', 10), base('two', 20, { problem: 'chain broken' })], { 1: [[5, 40]] })
    const { base: chosen, passedOver, reach } = candidateForTime([damaged], minute(25), 'latest')
    expect(chosen.id).toBe('one')
    expect(passedOver.map(({ id }) => id)).toEqual(['two'])
    expect(reach).toEqual({ from: 11, to: 40, missing: null })
  })

  it('is damage when no sound one is old enough', () => {
    const damaged = system([base('one', 10, { problem: 'chain broken' }), base('two', 20)], { 1: [[5, 40]] })
    expect(() => candidateForTime([damaged], minute(15), 'latest')).toThrow(
      expect.objectContaining({
        kind: 'damage',
        code: 'backup_damaged',
        message: expect.stringContaining('chain broken'),
      }),
    )
  })

  it('is of the system that was alive then, before and after pg_upgrade', () => {
    const before = { ...whole, identifier: '1' }
    const after = { ...system([base('new', 50)], { 1: [[1, 3]] }), identifier: '2' }
    expect(candidateForTime([after, before], minute(45), 'latest').system.identifier).toBe('1')
    expect(candidateForTime([before, after], minute(51), 'latest').system.identifier).toBe('2')
    expect(candidateForEnd([before, after], 'latest').base.id).toBe('new')
  })
})

describe('the timeline', () => {
  const history = { 2: [{ timeline: 1, until: within(25) }] }
  const forked = system(
    [...bases, base('four', 28, { timeline: 2, capturedAt: minute(60) })],
    {
      1: [[5, 40]],
      2: [[25, 35]],
    },
    history,
  )

  it('is the one written last by default, with bases from before the fork', () => {
    const { base: chosen, line, reach } = candidateForTime([forked], minute(40), 'latest')
    expect([chosen.id, line.timeline, reach.to]).toEqual(['two', 2, 35])
    expect(walOf({ ...candidateForTime([forked], minute(40), 'latest') })).toEqual({
      from: '000000010000000000000015',
      to: '000000020000000000000022',
      segments: 14,
    })
  })

  it('can be the one that was left, by its number or as the base’s own', () => {
    for (const choice of [1, 'current'] as const) {
      const { base: chosen, line, reach } = candidateForTime([forked], minute(40), choice)
      expect([chosen.id, line.timeline, reach.to]).toEqual(['three', 1, 40])
    }
  })

  it('is the older one again where that one went on after the other was left', () => {
    // Restored in place to the state of minute 25, written there until 36, rolled back: the old cluster went on.
    const left = system([...bases, base('four', 28, { timeline: 2 })], { 1: [[5, 40]], 2: [[25, 36]] }, history)
    const { base: chosen, line, reach } = candidateForEnd([left], 'latest')
    expect([chosen.id, line.timeline, reach.to]).toEqual(['three', 1, 40])
    expect(candidateForTime([left], minute(35), 'latest').line.timeline).toBe(1)
    expect(candidateForPosition([left], within(35), 'latest').line.timeline).toBe(1)
    expect(candidatesForSearch([left], 'latest').map(({ base: { id } }) => id)).toEqual(['three', 'two', 'one'])
    expect(followedLine(left, line)).toEqual([
      expect.stringMatching(/^timeline 1 is followed.* timeline 2 .*--timeline 2 /),
    ])
    expect(candidateForEnd([left], 2).base.id).toBe('four')
  })

  it('is never one that has nothing but a history file', () => {
    const begun = system(bases, { 1: [[5, 40]] }, { 2: [{ timeline: 1, until: within(35) }] })
    const { line } = candidateForEnd([begun], 'latest')
    expect([line.timeline, followedLine(begun, line)]).toEqual([1, []])
  })

  it('is followed without a word where the one before ended when it began', () => {
    const promoted = system(bases, { 1: [[5, 35]], 2: [[35, 40]] }, { 2: [{ timeline: 1, until: within(35) }] })
    const { line } = candidateForEnd([promoted], 'latest')
    expect([line.timeline, followedLine(promoted, line)]).toEqual([2, []])
  })

  it('is not found where nothing leads to it', () => {
    expect(() => candidateForTime([forked], minute(40), 7)).toThrow(
      expect.objectContaining({ kind: 'not-found', code: 'no_base', hint: expect.stringContaining('1, 2') }),
    )
  })
})

describe('an instant', () => {
  const candidate = candidateForTime([whole], minute(35), 'latest')
  const last = { at: minute(39) + 0.25, lsn: within(39) }

  it('before the last commit is left to the server', () => {
    const { setting, notes } = resolveTime(candidate, { lastTransaction: last, closedAt: minute(39.5) }, minute(35))
    expect(setting).toEqual({ name: 'recovery_target_time', value: '2025-11-03 00:35:00.000+00' })
    expect(notes).toEqual([])
  })

  it('after the last commit is that commit, which the server cannot find by a time', () => {
    const { setting, notes } = resolveTime(candidate, { lastTransaction: last, closedAt: minute(39.5) }, minute(39.4))
    expect(setting).toEqual({ name: 'recovery_target_lsn', value: formatLsn(within(39)) })
    expect(notes[0]).toContain('no transaction ended between')
  })

  it('without any commit after the base is the base', () => {
    const { setting } = resolveTime(candidate, { lastTransaction: null, closedAt: minute(39.5) }, minute(35))
    expect(setting).toEqual({ name: 'recovery_target', value: 'immediate' })
  })

  it('after the last archived segment was closed is not found, and the last instant is named', () => {
    expect(() => resolveTime(candidate, { lastTransaction: last, closedAt: minute(39.5) }, minute(39.6))).toThrow(
      expect.objectContaining({
        kind: 'not-found',
        code: 'target_too_late',
        message: expect.stringContaining('2025-11-03T00:39:00.000Z'),
      }),
    )
  })

  it('behind a missing segment is damage, and the segment is named', () => {
    const holed = system(bases, {
      1: [
        [5, 33],
        [34, 40],
      ],
    })
    const before = candidateForTime([holed], minute(35), 'latest')
    const end = { lastTransaction: { at: minute(32), lsn: within(32) }, closedAt: minute(32.5) }
    expect(resolveTime(before, end, minute(31)).setting?.name).toBe('recovery_target_time')
    expect(() => resolveTime(before, end, minute(35))).toThrow(
      expect.objectContaining({
        kind: 'damage',
        code: 'wal_missing',
        message: expect.stringContaining('000000010000000000000021'),
      }),
    )
  })
})

describe('a position', () => {
  it('has the newest base that is consistent not after it', () => {
    expect(candidateForPosition([whole], within(20), 'latest').base.id).toBe('two')
    expect(candidateForPosition([whole], within(20) - 1n, 'latest').base.id).toBe('one')
    expect(() => candidateForPosition([whole], within(9), 'latest')).toThrow(
      expect.objectContaining({ kind: 'not-found', code: 'target_too_early' }),
    )
  })

  it('must not lie after the last record', () => {
    const candidate = candidateForPosition([whole], within(38), 'latest')
    expect(resolvePosition(candidate, within(39), within(38)).setting).toEqual({
      name: 'recovery_target_lsn',
      value: formatLsn(within(38)),
    })
    expect(() => resolvePosition(candidate, within(39), within(40))).toThrow(
      expect.objectContaining({ kind: 'not-found', code: 'target_too_late' }),
    )
    expect(() => resolvePosition(candidate, null, within(38))).toThrow(expect.objectContaining({ kind: 'not-found' }))
  })

  it('at the very end of a base needs nothing but the base', () => {
    const candidate = candidateForPosition([whole], within(20), 'latest')
    expect(resolvePosition(candidate, null, within(20)).setting?.value).toBe('immediate')
  })
})

describe('the end', () => {
  it('is everything on the timeline', () => {
    const candidate = candidateForEnd([whole], 'latest')
    expect(resolveEnd(candidate)).toMatchObject({ setting: null, notes: [] })
  })

  it('says what lies behind a gap', () => {
    const { notes } = resolveEnd(
      candidateForEnd(
        [
          system(bases, {
            1: [
              [5, 33],
              [34, 40],
            ],
          }),
        ],
        'latest',
      ),
    )
    expect(notes).toEqual([expect.stringContaining('000000010000000000000021')])
  })

  it('needs a base', () => {
    expect(() => candidateForEnd([], 'latest')).toThrow(expect.objectContaining({ kind: 'not-found', code: 'no_base' }))
  })
})

describe('a search', () => {
  it('goes from the newest sound base back', () => {
    const mixed = system([base('one', 10), base('two', 20, { problem: 'lost' }), base('three', 30)], { 1: [[5, 40]] })
    expect(candidatesForSearch([mixed], 'latest').map(({ base: { id } }) => id)).toEqual(['three', 'one'])
  })
})
