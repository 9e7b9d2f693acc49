import { describe, expect, it } from 'vitest'
import { NexusError } from '../../../src/errors.js'
import { endOfMillisecond } from '../../../src/model/micros.js'
import {
  candidateForEnd,
  candidateForPosition,
  candidateForTime,
  candidatesForSearch,
  walOf,
} from '../../../src/operations/pitr/choose.js'
import { followedLine } from '../../../src/operations/pitr/latest.js'
import type { ClusterSystem } from '../../../src/operations/pitr/systems.js'
import { base, minute, system, within } from './histories.js'

/** The end of a minute's first millisecond: that much of it a base's time tells. */
const at = (minutes: number) => endOfMillisecond(minute(minutes))

const bases = [base('one', 10), base('two', 20), base('three', 30)]
const whole = system(bases, { 1: [[5, 40]] })

describe('the base for an instant', () => {
  it('is the newest captured not after it', () => {
    expect(candidateForTime([whole], at(20), 'latest').base.id).toBe('two')
    expect(candidateForTime([whole], at(29.9), 'latest').base.id).toBe('two')
    expect(candidateForTime([whole], at(99), 'latest').base.id).toBe('three')
  })

  it('is not found before the first one', () => {
    expect(() => candidateForTime([whole], at(9), 'latest')).toThrow(
      expect.objectContaining({
        kind: 'not-found',
        code: 'target_too_early',
        hint: expect.stringContaining('points shop'),
      }),
    )
  })

  it('passes over one that is damaged, and says so', () => {
    const damaged = system([base('one', 10), base('two', 20, { problem: 'chain broken' })], { 1: [[5, 40]] })
    const { base: chosen, passedOver, reach } = candidateForTime([damaged], at(25), 'latest')
    expect(chosen.id).toBe('one')
    expect(passedOver.map(({ id }) => id)).toEqual(['two'])
    expect(reach).toEqual({ from: 11, to: 40, missing: null })
  })

  describe('where the cluster was damaged when some were made', () => {
    const marked = (id: string, segment: number) =>
      base(id, segment, { problem: 'it was made of a damaged cluster', isMarked: true })
    const allowing = (one: ClusterSystem): ClusterSystem => ({ ...one, allowsMarked: true })
    const asked = [
      (of: ClusterSystem) => candidateForTime([of], at(25), 'latest'),
      (of: ClusterSystem) => candidateForPosition([of], within(25), 'latest'),
      (of: ClusterSystem) => candidateForEnd([of], 'latest'),
      (of: ClusterSystem) => candidatesForSearch([of], 'latest').find(({ base }) => base.stopSegment <= 25),
    ]

    it.each(asked)('is a sound one whose log goes on past them, allowed or not (%#)', ask => {
      const mixed = system([base('one', 10), marked('two', 20)], { 1: [[5, 40]] })
      expect(ask(mixed)?.base.id).toBe('one')
      expect(ask(allowing(mixed))?.base.id).toBe('one')
    })

    it.each(asked)('is one of those where no sound one leads, when that is allowed (%#)', ask => {
      const gap = { 1: [[5, 15] as const, [16, 40] as const] }
      for (const one of [
        system([marked('two', 20)], { 1: [[5, 40]] }),
        system([base('one', 10), marked('two', 20)], gap),
        system([base('one', 10, { problem: 'its parent is missing' }), marked('two', 20)], { 1: [[5, 40]] }),
        system([marked('one', 10), marked('two', 20)], { 1: [[5, 40]] }),
      ]) {
        expect(ask(allowing(one))?.base.id).toBe('two')
      }
    })

    it.each(asked.slice(0, 3))('is refused where only they lead, naming the flag (%#)', ask => {
      const refusal = expect.objectContaining({
        kind: 'refused',
        code: 'damaged_source',
        message: expect.stringContaining('two does, and it was made of a damaged cluster'),
        hint: expect.stringContaining('--allow-damaged'),
      })
      expect(() => ask(system([marked('one', 10), marked('two', 20)], { 1: [[5, 40]] }))).toThrow(refusal)
    })

    it('is never one whose own chain is broken', () => {
      const broken = base('one', 10, { problem: 'its parent is missing' })
      const none = allowing(system([broken], { 1: [[5, 40]] }))
      expect(() => candidateForEnd([none], 'latest')).toThrow(expect.objectContaining({ code: 'backup_damaged' }))
    })
  })

  it('before the first one names the first that can be restored, and is damage where there is none', () => {
    const broken = (id: string, segment: number) => base(id, segment, { problem: 'its parent is missing' })
    const second = system([broken('one', 10), base('two', 20)], { 1: [[5, 40]] })
    const none = system([broken('one', 10), broken('two', 20)], { 1: [[5, 40]] })
    const asked = [
      (of: ClusterSystem) => candidateForTime([of], at(9), 'latest'),
      (of: ClusterSystem) => candidateForPosition([of], within(9), 'latest'),
    ]
    for (const ask of asked) {
      expect(() => ask(second)).toThrow(expect.objectContaining({ code: 'target_too_early' }))
      expect(() => ask(none)).toThrow(expect.objectContaining({ kind: 'damage', code: 'backup_damaged' }))
    }
    expect(() => asked[0]?.(second)).toThrow(`that can be restored, ${new Date(minute(20)).toISOString()}`)
  })

  it('is damage when a history that tells where the timeline began is lost, unless a base serves without it', () => {
    const lost = new NexusError('damage', 'wal_damaged', '00000002.history is damaged')
    const spans = { 1: [[5, 40]], 2: [[41, 50]] } as const
    const alone = { ...system([base('one', 10)], spans), lostHistories: new Map([[2, lost]]) }
    const based = {
      ...system([base('one', 10), base('two', 45, { timeline: 2 })], spans),
      lostHistories: new Map([[2, lost]]),
    }
    const asked = [
      (of: ClusterSystem) => candidateForTime([of], at(30), 'latest'),
      (of: ClusterSystem) => candidateForPosition([of], within(30), 'latest'),
    ]
    const always = [
      (of: ClusterSystem) => candidateForEnd([of], 'latest'),
      (of: ClusterSystem) => candidatesForSearch([of], 'latest'),
    ]
    const isLost = expect.objectContaining({
      kind: 'damage',
      code: 'wal_damaged',
      hint: expect.stringContaining('--timeline current'),
    })
    for (const ask of [...asked, ...always]) expect(() => ask(alone)).toThrow(isLost)
    for (const ask of asked) expect(() => ask(based)).toThrow(isLost)
    expect(candidateForEnd([based], 'latest').base.id).toBe('two')
    expect(candidateForTime([alone], at(30), 'current').base.id).toBe('one')
  })

  it('is damage when no sound one is old enough', () => {
    const damaged = system([base('one', 10, { problem: 'chain broken' }), base('two', 20)], { 1: [[5, 40]] })
    expect(() => candidateForTime([damaged], at(15), 'latest')).toThrow(
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
    expect(candidateForTime([after, before], at(45), 'latest').system.identifier).toBe('1')
    expect(candidateForTime([before, after], at(51), 'latest').system.identifier).toBe('2')
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
    const { base: chosen, line, reach } = candidateForTime([forked], at(40), 'latest')
    expect([chosen.id, line.timeline, reach.to]).toEqual(['two', 2, 35])
    expect(walOf({ ...candidateForTime([forked], at(40), 'latest') })).toEqual({
      from: '000000010000000000000015',
      to: '000000020000000000000022',
      segments: 14,
    })
  })

  it('can be the one that was left, by its number or as the base’s own', () => {
    for (const choice of [1, 'current'] as const) {
      const { base: chosen, line, reach } = candidateForTime([forked], at(40), choice)
      expect([chosen.id, line.timeline, reach.to]).toEqual(['three', 1, 40])
    }
  })

  it('is the older one again where that one went on after the other was left', () => {
    // Restored in place to the state of minute 25, written there until 36, rolled back: the old cluster went on.
    const left = system([...bases, base('four', 28, { timeline: 2 })], { 1: [[5, 40]], 2: [[25, 36]] }, history)
    const { base: chosen, line, reach } = candidateForEnd([left], 'latest')
    expect([chosen.id, line.timeline, reach.to]).toEqual(['three', 1, 40])
    expect(candidateForTime([left], at(35), 'latest').line.timeline).toBe(1)
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
    expect(() => candidateForTime([forked], at(40), 7)).toThrow(
      expect.objectContaining({ kind: 'not-found', code: 'no_base', hint: expect.stringContaining('1, 2') }),
    )
  })
})

describe('the base for a position', () => {
  it('is the newest that is consistent not after it', () => {
    expect(candidateForPosition([whole], within(20), 'latest').base.id).toBe('two')
    expect(candidateForPosition([whole], within(20) - 1n, 'latest').base.id).toBe('one')
    expect(() => candidateForPosition([whole], within(9), 'latest')).toThrow(
      expect.objectContaining({ kind: 'not-found', code: 'target_too_early' }),
    )
  })
})

describe('the base for the end', () => {
  it('must be there', () => {
    expect(() => candidateForEnd([], 'latest')).toThrow(expect.objectContaining({ kind: 'not-found', code: 'no_base' }))
  })
})

describe('a search', () => {
  it('goes from the newest sound base back', () => {
    const mixed = system([base('one', 10), base('two', 20, { problem: 'lost' }), base('three', 30)], { 1: [[5, 40]] })
    expect(candidatesForSearch([mixed], 'latest').map(({ base: { id } }) => id)).toEqual(['three', 'one'])
  })
})
