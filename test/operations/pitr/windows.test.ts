import { describe, expect, it } from 'vitest'
import { stretchesOf, windowOf } from '../../../src/operations/pitr/windows.js'
import { base, minute, system, within } from './histories.js'

const at = (minutes: number) => new Date(minute(minutes)).toISOString()
const ends = (minutes: number) => ({
  lastTransaction: { at: minute(minutes), lsn: within(minutes) },
  closedAt: minute(minutes + 1),
})
const shape = (found: ReturnType<typeof stretchesOf>) => {
  return found.map(({ bases, reach, line, isDefault }) => [
    bases.map(({ id }) => id).join(),
    reach.to,
    line.timeline,
    isDefault,
  ])
}

describe('the stretches of a system', () => {
  it('join bases that the same log leads on from', () => {
    const one = system([base('one', 10), base('two', 20), base('three', 30)], { 1: [[5, 40]] })
    expect(shape(stretchesOf(one))).toEqual([['one,two,three', 40, 1, true]])
  })

  it('end at a gap and begin again with the next base', () => {
    const holed = system([base('one', 10), base('two', 20), base('three', 30)], {
      1: [
        [5, 25],
        [26, 40],
      ],
    })
    expect(shape(stretchesOf(holed))).toEqual([
      ['one,two', 25, 1, true],
      ['three', 40, 1, true],
    ])
  })

  it('leave out bases that are damaged', () => {
    const damaged = system([base('one', 10, { problem: 'lost' }), base('two', 20)], { 1: [[5, 40]] })
    expect(shape(stretchesOf(damaged))).toEqual([['two', 40, 1, true]])
  })

  it('follow a promoted standby, and show apart what only the old timeline has', () => {
    const history = { 2: [{ timeline: 1, until: within(25) }] }
    const bases = [base('one', 10), base('late', 30), base('new', 28, { timeline: 2 })]
    const forked = system(bases, { 1: [[5, 35]], 2: [[25, 50]] }, history)
    expect(shape(stretchesOf(forked))).toEqual([
      ['one,new', 50, 2, true],
      ['one,late', 35, 1, false],
    ])
  })

  it('stay on the old timeline where it went on, and show apart what the abandoned one has', () => {
    const history = { 2: [{ timeline: 1, until: within(25) }] }
    const bases = [base('one', 10), base('late', 30), base('left', 28, { timeline: 2 })]
    const rolledBack = system(bases, { 1: [[5, 50]], 2: [[25, 35]] }, history)
    expect(shape(stretchesOf(rolledBack))).toEqual([
      ['one,late', 50, 1, true],
      ['one,left', 35, 2, false],
    ])
  })

  it('show nothing apart when the old timeline ended where it was left', () => {
    const history = { 2: [{ timeline: 1, until: within(25) }] }
    const forked = system([base('one', 10)], { 1: [[5, 25]], 2: [[25, 50]] }, history)
    expect(shape(stretchesOf(forked))).toEqual([['one', 50, 2, true]])
  })
})

describe('the window of a stretch', () => {
  const [stretch] = stretchesOf(system([base('one', 10), base('two', 20)], { 1: [[5, 40]] }))
  if (stretch === undefined) throw new Error('no stretch')

  it('goes from the oldest base to the last commit, rounded down', () => {
    const end = { lastTransaction: { at: minute(39) + 0.999, lsn: within(39) }, closedAt: minute(40) }
    expect(windowOf(stretch, end)).toEqual({ from: at(10), to: at(39), timeline: 1 })
  })

  it('is none when nothing ended after the base', () => {
    expect(windowOf(stretch, { lastTransaction: null, closedAt: minute(40) })).toBeNull()
    expect(windowOf(stretch, ends(10))).toBeNull()
  })
})
