import { describe, expect, it } from 'vitest'
import { isoMicros, microsOf } from '../../../src/model/micros.js'
import type { ScannedSegment } from '../../../src/operations/pitr/wal-scan.js'
import { stretchesOf, windowsOf } from '../../../src/operations/pitr/windows.js'
import type { WalEvent } from '../../../src/sources/postgres/wal-events.js'
import { formatLsn } from '../../../src/sources/postgres/wal-names.js'
import { commit, fakeScan } from './fake-wal.js'
import { base, minute, system, within } from './histories.js'

const at = (minutes: number) => new Date(minute(minutes)).toISOString()
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

  it('are apart where only bases of a damaged cluster lead', () => {
    const marked = (id: string, segment: number) => base(id, segment, { problem: 'damaged cluster', isMarked: true })
    const of = (bases: Parameters<typeof system>[0], spans: [number, number][]) =>
      stretchesOf(system(bases, { 1: spans })).map(({ bases, isMarked }) => [
        bases.map(({ id }) => id).join(),
        isMarked,
      ])
    expect(of([base('one', 10), marked('two', 20)], [[5, 40]])).toEqual([['one', false]])
    expect(of([marked('one', 10), base('two', 20), marked('three', 30)], [[5, 40]])).toEqual([
      ['two', false],
      ['one', true],
    ])
    const spans: [number, number][] = [
      [5, 15],
      [16, 40],
    ]
    expect(of([base('one', 10), marked('two', 20), marked('three', 30)], spans)).toEqual([
      ['one', false],
      ['two,three', true],
    ])
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

describe('the windows of a stretch', () => {
  const bases = [base('one', 10), base('two', 20), base('three', 35)]
  const of = async (events: WalEvent[], damaged: number[] = []) => {
    const [stretch] = stretchesOf(system(bases, { 1: [[5, 40]] }))
    if (stretch === undefined) throw new Error('no stretch')
    const segments: ScannedSegment[] = []
    for await (const segment of fakeScan(events, damaged).scan(stretch.line, { first: 11, to: 40 }))
      segments.push(segment)
    return windowsOf(stretch, segments)
  }
  const micros = (minutes: number, by = 0n) => isoMicros(microsOf(minute(minutes)) + by)

  it('are one from the oldest base to the microsecond of the last commit', async () => {
    const last = microsOf(minute(39)) + 123_456n
    expect(await of([commit(1, 12), commit(2, 39, last)])).toEqual({
      windows: [{ from: at(10), to: '2025-11-03T00:39:00.123456Z', timeline: 1 }],
      breaks: [],
      covered: ['one', 'two', 'three'],
    })
  })

  it('are none when nothing was committed after the base', async () => {
    expect(await of([])).toEqual({ windows: [], breaks: [], covered: [] })
    expect((await of([commit(1, 12, 9)])).windows).toEqual([])
  })

  it('end before wal_level=minimal, and begin again with the next base', async () => {
    const minimal: WalEvent = { kind: 'parameters', lsn: within(30), isMinimal: true }
    const { windows, breaks, covered } = await of([commit(1, 12), commit(2, 29), minimal, commit(3, 33), commit(4, 39)])
    expect(windows).toEqual([
      { from: at(10), to: micros(29), timeline: 1 },
      { from: at(35), to: micros(39), timeline: 1 },
    ])
    expect(breaks).toEqual([{ reason: 'wal_level_minimal', timeline: 1, lsn: formatLsn(within(30)) }])
    expect(covered).toEqual(['one', 'two', 'three'])
  })

  it('end before a damaged segment, and begin again with the next base', async () => {
    const { windows, breaks } = await of([commit(1, 12), commit(2, 29), commit(4, 39)], [30])
    expect(windows.map(({ to }) => to)).toEqual([micros(29), micros(39)])
    expect(breaks).toEqual([{ reason: 'wal_damaged', timeline: 1, lsn: '0/1E000000' }])
  })

  it('leave out the times that came twice', async () => {
    const { windows, breaks } = await of([
      commit(1, 12),
      commit(2, 30),
      commit(3, 31, 24),
      commit(4, 32, 33),
      commit(5, 39),
    ])
    expect(windows).toEqual([
      { from: at(10), to: micros(24, -1n), timeline: 1 },
      { from: micros(30, 1n), to: micros(39), timeline: 1 },
    ])
    const times = { from: micros(24), to: micros(30) }
    expect(breaks).toEqual([{ reason: 'clock_set_back', timeline: 1, lsn: formatLsn(within(31)), ...times }])
  })

  it('take no notice of commits that were written a moment out of order', async () => {
    const crossed = [commit(1, 12), commit(2, 30), commit(3, 31, microsOf(minute(30)) - 900_000n), commit(4, 39)]
    expect((await of(crossed)).breaks).toEqual([])
  })

  it('end for good where the clock never came back to where it had been', async () => {
    const { windows } = await of([commit(1, 12), commit(2, 20, 500), commit(3, 39)])
    expect(windows).toEqual([{ from: at(10), to: micros(39, -1n), timeline: 1 }])
  })
})
