import fc from 'fast-check'
import type { WalFile, WalRetentionInput } from '../../src/policy/wal-retention.js'
import type { WalBase, WalTimeline } from '../../src/policy/wal-window.js'
import { day, hour } from './histories.js'

export const segmentBytes = 16n * 1024n * 1024n

export interface Segment extends WalFile {
  number: number
  at: number
}

/** What a cluster's life left in an archive and in a repository. */
export interface WalHistory {
  bases: WalBase[]
  timelines: WalTimeline[]
  files: (Segment | WalFile)[]
  segments: Segment[]
  now: number
}

export function segment(timeline: number, number: number, at = 0): Segment {
  const from = BigInt(number) * segmentBytes
  return { name: `${timeline}/${number}`, timeline, number, at, span: { from, to: from + segmentBytes } }
}

/** A base that begins in a segment and is consistent in its middle. */
export function base(id: string, at: number, timeline: number, number: number, wishes: Partial<WalBase> = {}): WalBase {
  const start = BigInt(number) * segmentBytes
  const sequence = Number(id.replace(/\D/g, ''))
  const [stop, held] = [start + segmentBytes / 2n, start + segmentBytes]
  return { id, sequence, at, timeline, start, stop, held, isSound: true, ...wishes }
}

export function history(timeline: number): WalFile {
  return { name: `${timeline}.history`, timeline, span: null }
}

/** The input without anything out of the ordinary. */
export function inputOf(
  { bases, timelines, files }: Pick<WalHistory, 'bases' | 'timelines' | 'files'>,
  since: number | null,
  wishes: Partial<WalRetentionInput<WalFile>> = {},
): WalRetentionInput<WalFile> {
  return { bases, timelines, files, since, lost: [], superseded: null, ...wishes }
}

type Event =
  | { kind: 'write'; segments: number; step: number }
  | { kind: 'base'; isSound: boolean }
  | { kind: 'fork'; back: number; eighths: number }
  | { kind: 'lose'; back: number }
  | { kind: 'jump'; step: number }

const write = fc.record({
  kind: fc.constant('write' as const),
  segments: fc.integer({ min: 1, max: 6 }),
  step: fc.integer({ min: 1, max: 12 * hour }),
})
const takeBase = fc.record({ kind: fc.constant('base' as const), isSound: fc.constantFrom(true, true, true, false) })
const fork = fc.record({
  kind: fc.constant('fork' as const),
  back: fc.integer({ min: 0, max: 25 }),
  eighths: fc.integer({ min: 0, max: 7 }),
})
const lose = fc.record({ kind: fc.constant('lose' as const), back: fc.integer({ min: 1, max: 20 }) })
const jump = fc.record({ kind: fc.constant('jump' as const), step: fc.integer({ min: -30 * day, max: 30 * day }) })

/**
 * Lives of clusters: segments archived, bases taken, recoveries to an earlier instant that begin a timeline, segments
 * that were lost. @param jumps whether the clock jumps
 */
export function someWalHistory(jumps: boolean): fc.Arbitrary<WalHistory> {
  const usual = [
    { weight: 8, arbitrary: write },
    { weight: 6, arbitrary: takeBase },
    { weight: 2, arbitrary: fork },
    { weight: 1, arbitrary: lose },
  ]
  const events: fc.Arbitrary<Event> = jumps ? fc.oneof(...usual, { weight: 2, arbitrary: jump }) : fc.oneof(...usual)
  return fc.array(events, { minLength: 5, maxLength: 40, size: 'max' }).map(lived)
}

interface Life {
  clock: number
  /** The segment that is being written. */
  number: number
  current: WalTimeline & { begins: number }
}

function lived(events: readonly Event[]): WalHistory {
  const first = { timeline: 1, ancestors: [], lastArchived: null, begins: 1 }
  const life: Life = { clock: Date.UTC(2025, 0, 1), number: 1, current: first }
  const timelines: Life['current'][] = [first]
  const bases: WalBase[] = []
  let segments: Segment[] = []
  const archive = () => {
    segments.push(segment(life.current.timeline, life.number, life.clock))
    life.current.lastArchived = life.clock
    life.number++
  }
  for (const event of events) {
    if (event.kind === 'jump') life.clock += event.step
    if (event.kind === 'write') {
      for (let written = 0; written < event.segments; written++) {
        life.clock += event.step
        archive()
      }
    }
    if (event.kind === 'base') {
      life.clock += 60_000
      const id = `b${bases.length + 1}`
      bases.push(base(id, life.clock, life.current.timeline, life.number, { isSound: event.isSound }))
      archive()
    }
    if (event.kind === 'fork') {
      const { timeline, ancestors } = life.current
      life.number = Math.max(life.current.begins, life.number - event.back)
      const until = BigInt(life.number) * segmentBytes + (segmentBytes / 8n) * BigInt(event.eighths)
      const next = { timeline: timelines.length + 1, ancestors: [...ancestors, { timeline, until }] }
      life.current = { ...next, lastArchived: null, begins: life.number }
      timelines.push(life.current)
    }
    if (event.kind === 'lose') segments = segments.filter((_, index) => index !== segments.length - event.back)
  }
  const histories = timelines.slice(1).map(({ timeline }) => history(timeline))
  return { bases, timelines, files: [...segments, ...histories], segments, now: life.clock }
}

/**
 * Numbers of the segments that recovery from a base reads one after another on its way to a timeline's end, as far as
 * there is no gap; by the server's own rule, segment by segment and newest timeline first.
 */
export function reached(from: WalBase, target: WalTimeline, segments: readonly Segment[]): number[] {
  const line = [...target.ancestors.map(({ timeline }) => timeline), target.timeline]
  if (!line.includes(from.timeline)) return []
  const leftAt = target.ancestors.find(({ timeline }) => timeline === from.timeline)?.until
  if (leftAt !== undefined && from.stop > leftAt) return []
  const ends = new Map(target.ancestors.map(({ timeline, until }) => [timeline, Number(until / segmentBytes)]))
  const begins = (timeline: number) => {
    const before = line[line.indexOf(timeline) - 1]
    return before === undefined ? 0 : (ends.get(before) ?? 0)
  }
  const present = new Set(segments.map(({ name }) => name))
  const numbers: number[] = []
  for (let number = Number(from.start / segmentBytes); ; number++) {
    const source = line.findLast(timeline => number >= begins(timeline))
    if (source === undefined || !present.has(`${source}/${number}`)) return numbers
    numbers.push(number)
  }
}
