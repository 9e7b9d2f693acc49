import { NexusError } from '../../errors.js'
import type { WalFile } from '../../policy/wal-retention.js'
import type { WalTimeline } from '../../policy/wal-window.js'
import type { SourceRoom } from '../../repository/types.js'
import type { WalArchive } from '../../repository/wal/types.js'
import type { WalSeal } from '../../repository/wal/wal-seal.js'
import { type Ancestor, parseTimelineHistory } from '../../sources/postgres/timeline-history.js'
import { historyName, parseWalName, segmentNumber, segmentStart } from '../../sources/postgres/wal-names.js'
import type { Survey } from '../survey.js'
import { basesOf, type SystemBase } from './wal-bases.js'

/** What is archived of one system, and the bases that stand on it. */
export interface WalSystem {
  system: string
  archive: WalArchive
  bases: SystemBase[]
  timelines: WalTimeline[]
  files: WalFile[]
  /** Size of a segment; null where bases disagree (`pg_resetwal --wal-segsize`) or nothing tells. */
  segmentBytes: number | null
}

/** All the WAL of a source. */
export interface WalSurvey {
  systems: WalSystem[]
  /** Damaged backups that do not say which WAL they need. */
  lost: { id: string; at: number }[]
}

/**
 * Looks at a source's archived WAL: names, and the heads of a few files. Content that cannot be read here is left to
 * verify; whatever it would have told counts as unknown.
 * @param seal what opens sealed files, for who reads on
 */
export async function surveyWal(room: SourceRoom, found: Survey, seal?: WalSeal): Promise<WalSurvey> {
  const { bases, lost } = basesOf(found)
  const systems: WalSystem[] = []
  for (const system of await room.walSystems()) {
    const archive = room.wal(system, seal)
    const names = await archive.names()
    const own = bases.filter(base => base.system === system)
    if (names.length > 0) systems.push(await surveySystem(archive, names, own))
  }
  return { systems, lost }
}

async function surveySystem(archive: WalArchive, names: readonly string[], bases: SystemBase[]): Promise<WalSystem> {
  const timelines: WalTimeline[] = []
  for (const timeline of await archive.timelines()) {
    const own = names.filter(name => parseWalName(name)?.timeline === timeline)
    if (own.length > 0) timelines.push(await surveyTimeline(archive, timeline, own))
  }
  const segmentBytes = await segmentSize(archive, bases, names)
  const files = names.map(name => walFile(name, segmentBytes))
  return { system: archive.systemIdentifier, archive, bases, timelines, files, segmentBytes }
}

async function surveyTimeline(archive: WalArchive, timeline: number, names: readonly string[]): Promise<WalTimeline> {
  const newest = names.findLast(isSegment) ?? names.at(-1)
  const header = newest === undefined ? undefined : await soundOnly(archive.header(newest))
  return {
    timeline,
    ancestors: names.includes(historyName(timeline)) ? ((await soundOnly(ancestorsOf(archive, timeline))) ?? []) : [],
    lastArchived: header === undefined ? null : Date.parse(header.archived_at),
  }
}

/** The timelines that one came from, as its archived history file tells. @throws NexusError damage, not-found */
export async function ancestorsOf(archive: WalArchive, timeline: number): Promise<Ancestor[]> {
  const { plain } = await archive.read(historyName(timeline))
  return parseTimelineHistory(plain.toString('utf8'), timeline)
}

async function segmentSize(
  archive: WalArchive,
  bases: readonly SystemBase[],
  names: readonly string[],
): Promise<number | null> {
  const [size, another] = new Set(bases.map(base => base.segmentBytes))
  if (size !== undefined) return another === undefined ? size : null
  const some = names.findLast(isSegment)
  const header = some === undefined ? undefined : await soundOnly(archive.header(some))
  return header?.bytes ?? null
}

/** What retention wants to know of a stored file; without the size of a segment no more than its timeline. */
export function walFile(name: string, segmentBytes: number | null): WalFile {
  const parsed = parseWalName(name)
  const timeline = parsed?.timeline ?? 0
  if (parsed === undefined || parsed.kind === 'history' || segmentBytes === null) return { name, timeline, span: null }
  const number = segmentNumber(parsed, segmentBytes)
  if (number === undefined) return { name, timeline, span: null }
  const from = segmentStart(number, segmentBytes)
  return { name, timeline, span: { from, to: from + BigInt(segmentBytes) } }
}

/** Whether a name is that of a whole segment. */
export function isSegment(name: string): boolean {
  return parseWalName(name)?.kind === 'segment'
}

/** Undefined for what is damaged or went away. */
async function soundOnly<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'damage' || error.kind === 'not-found')) return undefined
    throw error
  }
}
