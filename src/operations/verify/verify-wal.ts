import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { mapParallel } from '../../repository/parallel.js'
import type { SourceRoom } from '../../repository/types.js'
import { historyName, parseWalName, segmentName } from '../../sources/postgres/wal-names.js'
import { contiguousRanges, rangeText } from '../../sources/postgres/wal-ranges.js'
import type { VerifiedBackup } from '../results.js'
import { walReader } from '../sealing/wal-seal-for.js'
import { judge, loadHistory } from '../survey.js'
import type { SystemBase } from '../wal/wal-bases.js'
import { readWalKeptFrom } from '../wal/wal-kept-from.js'
import { surveyWal, type WalSystem } from '../wal/wal-survey.js'
import { unreadable } from './verify-unreadable.js'
import { checkWalFile } from './verify-wal-file.js'
import { basesThrough, missingWal } from './verify-wal-plan.js'

/** Something wrong with a timeline of a system, and the bases whose windows it cuts. */
interface Fault {
  timeline: number
  part: string
  problem: string
  affects: string[]
  isUnread?: boolean
  /** Was not there when it was read. */
  isGone?: boolean
}

/** Memory that files read side by side may take, and how many there may be of them. */
const READ_AT_ONCE = { bytes: 64 * 1024 * 1024, files: 4 }

/**
 * Checks the archived WAL of a source: every file (its head, stored and plain digest, its place in the log and its
 * system), and that from the start of each base on there is no gap up to the newest segment of every timeline it leads
 * to. What prune let go is no gap, nor is anything from before the first base. One result a system and timeline.
 */
export async function verifyWal(context: Context, room: SourceRoom): Promise<VerifiedBackup[]> {
  const systems = await lookAtWal(context, room)
  const total = systems.reduce((sum, { files }) => sum + files.length, 0)
  let done = 0
  const advance = () => {
    done += 1
    context.progress({ phase: `${room.name}: verifying WAL`, done, total, unit: 'items' })
  }
  const results: VerifiedBackup[] = []
  for (const system of systems) {
    const faults = await damagedFiles(context, system, await basesThatRoll(room, system), advance)
    results.push(...resultsOf(room, system, await lasting(context, room, system, faults)))
  }
  return results
}

async function lookAtWal(context: Context, room: SourceRoom): Promise<WalSystem[]> {
  // Damage that proofs tell of changes nothing here: a base whose backup is damaged may still be repaired.
  const found = judge(room, await loadHistory(context, room), [], context.now())
  return (await surveyWal(room, found, walReader(context, room.repository))).systems
}

/** Looks at the archive, at most, until two agree on what is missing. */
const LOOKS = 5

/**
 * Adds what is missing to what is damaged. Files are archived meanwhile, and where no lock keeps prunes away they go:
 * what is missing is so only when the next look misses it too, and no file is damaged that is not there any more.
 */
async function lasting(
  context: Context,
  room: SourceRoom,
  first: WalSystem,
  damaged: readonly Fault[],
): Promise<Fault[]> {
  let system = first
  let missing: Fault[] = []
  for (let look = 1; look <= LOOKS; look += 1) {
    const bases = await basesThatRoll(room, system)
    const now = [...lostHistories(system, bases), ...missingSegments(system, bases)]
    const isAgreed = look > 1 && textOf(now) === textOf(missing)
    missing = now
    if (isAgreed || (now.length === 0 && damaged.every(({ isGone }) => isGone !== true))) break
    system = (await lookAtWal(context, room)).find(({ system: same }) => same === first.system) ?? system
  }
  const present = new Set(system.files.map(({ name }) => name))
  return [...damaged.filter(({ isGone, part }) => isGone !== true || present.has(part)), ...missing]
}

function textOf(faults: readonly Fault[]): string {
  return faults.map(({ part, problem }) => `${part} ${problem}`).join('\n')
}

/**
 * The bases that prune has not made points of, each with the segment from which on its WAL must be there: the one it begins
 * in, where anything shows that the archive reached back to it; else the first that it does not hold itself, for archiving
 * may have been switched on after it.
 */
async function basesThatRoll(room: SourceRoom, { system, bases, files }: WalSystem): Promise<SystemBase[]> {
  const oldest = files.flatMap(({ span }) => span?.from ?? []).reduce((a, b) => (b < a ? b : a), 2n ** 64n)
  const noted = await keptFromOf(room, system, oldest)
  // The record is not signed, and prune keeps the WAL of the newest base always.
  const newest = bases.reduce((last, { start }) => (start > last ? start : last), 0n)
  const keptFrom = noted !== undefined && noted > newest ? newest : noted
  return bases
    .filter(({ held }) => held >= (keptFrom ?? 0n))
    .map(base => {
      const start = keptFrom !== undefined && keptFrom > base.start ? keptFrom : base.start
      const isArchived = keptFrom !== undefined || oldest <= base.start
      return { ...base, start: isArchived && start < base.held ? start : base.held }
    })
}

/** Where the WAL begins that prune has kept; undefined where it let nothing go yet. */
async function keptFromOf(room: SourceRoom, system: string, oldest: bigint): Promise<bigint | undefined> {
  try {
    return (await readWalKeptFrom(room)).get(system)
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'wal_record_damaged') throw error
    // That is a finding of its own; what lies before the oldest file can then not be told from what prune let go.
    return oldest
  }
}

async function damagedFiles(
  context: Context,
  { archive, system, timelines, files, segmentBytes }: WalSystem,
  bases: readonly SystemBase[],
  advance: () => void,
): Promise<Fault[]> {
  const readers = Math.min(READ_AT_ONCE.files, Math.max(1, Math.floor(READ_AT_ONCE.bytes / (segmentBytes ?? 1))))
  const faults = await mapParallel(files, readers, async ({ name, timeline, span }): Promise<Fault[]> => {
    context.signal.throwIfAborted()
    const found = await problemOf(
      () => checkWalFile(archive, name, system),
      () => archive.check(name),
    )
    advance()
    if (found === undefined) return []
    const line = timelines.find(one => one.timeline === timeline)
    const kind = parseWalName(name)?.kind
    const through = span !== null && kind === 'segment' && line !== undefined ? basesThrough(bases, line, span.to) : []
    const before = kind === 'history' ? basesBefore(bases, timeline) : []
    return [{ timeline, part: name, affects: [...through, ...before], ...found }]
  })
  return faults.flat()
}

/** @param withoutKey what can be checked of a sealed file that no key here opens */
async function problemOf(
  check: () => Promise<void>,
  withoutKey: () => Promise<void>,
): Promise<Pick<Fault, 'problem' | 'isUnread' | 'isGone'> | undefined> {
  try {
    await check()
    return undefined
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'damage' || error.kind === 'not-found')) {
      return { problem: messageOf(error), isGone: error.kind === 'not-found' }
    }
    if (error instanceof NexusError && (error.code === 'key_missing' || error.code === 'key_wrong')) {
      const why = { problem: `its content was not read: ${messageOf(error)}`, isUnread: true }
      return (await problemOf(withoutKey, withoutKey)) ?? why
    }
    if (unreadable(error)) return { problem: `could not be read: ${messageOf(error)}`, isUnread: true }
    throw error
  }
}

/** Without its history nobody finds the way to a timeline from one before it. */
function lostHistories({ timelines, files }: WalSystem, bases: readonly SystemBase[]): Fault[] {
  const names = new Set(files.map(({ name }) => name))
  return timelines.flatMap(({ timeline }) => {
    const part = historyName(timeline)
    const affects = basesBefore(bases, timeline)
    return names.has(part) || affects.length === 0 ? [] : [{ timeline, part, problem: 'is missing', affects }]
  })
}

function missingSegments({ timelines, files, segmentBytes }: WalSystem, bases: readonly SystemBase[]): Fault[] {
  if (segmentBytes === null) return []
  const present = contiguousRanges(
    files.map(({ name }) => name),
    segmentBytes,
  )
  return missingWal(bases, timelines, present, segmentBytes).map(gap => {
    const { timeline, first, last, affects } = gap
    const count = last - first + 1
    const problem = count === 1 ? 'is missing' : `${count} segments are missing: ${rangeText(gap, segmentBytes)}`
    return { timeline, part: segmentName(timeline, first, segmentBytes), problem, affects }
  })
}

function basesBefore(bases: readonly SystemBase[], timeline: number): string[] {
  return bases.filter(base => base.timeline < timeline).map(({ id }) => id)
}

function resultsOf(room: SourceRoom, { system, timelines }: WalSystem, faults: readonly Fault[]): VerifiedBackup[] {
  const numbers = new Set([...timelines, ...faults].map(({ timeline }) => timeline))
  return [...numbers]
    .sort((a, b) => a - b)
    .map(timeline => {
      const own = faults.filter(fault => fault.timeline === timeline)
      const isDamaged = own.some(({ isUnread }) => isUnread !== true)
      return {
        id: `wal/${system}/${timeline.toString(16).toUpperCase().padStart(8, '0')}`,
        source: room.name,
        status: own.length === 0 ? 'ok' : isDamaged ? 'damaged' : 'unread',
        level: 'content',
        findings: own.map(({ part, problem }) => ({ part, problem })),
        affects: [...new Set(own.flatMap(({ affects }) => affects))],
      }
    })
}
