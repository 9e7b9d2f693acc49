import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { Manifest } from '../../repository/manifest.js'
import type { SourceRoom } from '../../repository/types.js'
import type { WalArchive } from '../../repository/wal/types.js'
import { type Ancestor, parseTimelineHistory } from '../../sources/postgres/timeline-history.js'
import { historyName, parseWalName, segmentAt, segmentName } from '../../sources/postgres/wal-names.js'
import { contiguousRanges } from '../../sources/postgres/wal-ranges.js'
import { roomsOf } from '../rooms.js'
import { walReader } from '../sealing/wal-seal-for.js'
import { noneOurs, passedOver } from '../select.js'
import { type Survey, survey } from '../survey.js'
import type { ApartBackup } from '../trust/judged.js'
import { warnOnce } from '../trust/warn-once.js'
import { basesOf, type SystemBase } from '../wal/wal-bases.js'
import { linesOf, type SegmentSpan } from './lines.js'
import type { ClusterBase, ClusterSystem } from './systems.js'

/** A system with the room that holds it. */
export interface LoadedSystem extends ClusterSystem {
  room: SourceRoom
  survey: Survey
  archive: WalArchive
}

/**
 * Everything that is kept of a source's clusters, by system and repository: bases, log and timelines. Of the log only names
 * and history files are read.
 *
 * A timeline of which no segment can be used is left out, and a history that cannot be used leads nowhere: both are said.
 *
 * @throws NexusError `not-found` for an unknown source, `refused` when no backup is ours
 */
export async function loadSystems(
  context: Context,
  repositories: readonly RepositorySettings[],
  source: string,
): Promise<LoadedSystem[]> {
  const systems: LoadedSystem[] = []
  const apart: ApartBackup[] = []
  for (const room of await roomsOf(repositories, source)) {
    const known = await survey(room, context)
    apart.push(...known.apart)
    if (known.gone !== null) warnOnce(context, `${source}: ${known.gone.id}, which this host remembers, is gone`)
    const { bases } = basesOf(known)
    for (const identifier of new Set(bases.map(({ system }) => system))) {
      systems.push(
        await loadSystem(
          context,
          room,
          known,
          bases.filter(({ system }) => system === identifier),
        ),
      )
    }
  }
  if (systems.length === 0 && apart.length > 0) throw noneOurs(source, apart)
  if (apart.length > 0) warnOnce(context, `${source}: ${passedOver(apart)}`)
  return systems
}

async function loadSystem(
  context: Context,
  room: SourceRoom,
  known: Survey,
  found: readonly SystemBase[],
): Promise<LoadedSystem> {
  const [first] = found
  const [identifier, segmentBytes] = [first?.system ?? '', first?.segmentBytes ?? 0]
  const archive = room.wal(identifier, walReader(context, room.repository))
  const names = await archive.names()
  const spans = spansOf(names, segmentBytes)
  const { histories, lost } = await historiesOf(context, archive, names)
  const manifests = new Map(known.manifests.map(manifest => [manifest.id, manifest]))
  const bases = found
    .flatMap(base => {
      const manifest = manifests.get(base.id)
      return manifest === undefined ? [] : [clusterBase(base, manifest, known)]
    })
    .sort((a, b) => a.capturedAt - b.capturedAt)
  const own = new Set(bases.map(({ timeline }) => timeline))
  const all = new Set([...spans.keys(), ...own, ...histories.keys()])
  const { lastWritten, useless } =
    all.size > 1 ? await lastWrittenOn(archive, { archived: spans, bases, segmentBytes }) : oneTimeline
  const archived = new Map([...spans].filter(([timeline]) => !useless.has(timeline) || own.has(timeline)))
  for (const [timeline, { message }] of useless) {
    warnOnce(context, `${room.name}: no segment of timeline ${timeline} can be used: ${message}`)
  }
  const lostHistories = new Map([...lost].filter(([timeline]) => archived.has(timeline) || own.has(timeline)))
  const lines = linesOf([...archived.keys(), ...own], histories)
  const system = { source: room.name, identifier, segmentBytes, bases, lines, archived, lastWritten, lostHistories }
  return { ...system, room, survey: known, archive }
}

/** Where there is no choice of a timeline, none is looked at. */
const oneTimeline: WrittenTimelines = { lastWritten: new Map(), useless: new Map() }

function clusterBase(
  { id, at, timeline, stop, isSound, segmentBytes }: SystemBase,
  { facts }: Manifest,
  known: Survey,
): ClusterBase {
  const captured = known.unsoundCaptures.has(id) ? 'it was made of a damaged cluster (--allow-damaged)' : null
  const broken = known.broken.get(id) ?? null
  const problem = isSound ? null : (broken ?? captured)
  return {
    id,
    capturedAt: at,
    timeline,
    stop,
    // At a boundary nothing of the next segment is needed.
    stopSegment: segmentAt(stop - 1n, segmentBytes),
    standby: facts.standby === true,
    problem,
    ...(problem !== null && broken === null ? { isMarked: true } : {}),
  }
}

function spansOf(names: readonly string[], segmentBytes: number): Map<number, SegmentSpan[]> {
  const spans = new Map<number, SegmentSpan[]>()
  for (const { timeline, first, last } of contiguousRanges(names, segmentBytes)) {
    const known = spans.get(timeline)
    const span = { from: first, to: last + 1 }
    if (known === undefined) spans.set(timeline, [span])
    else known.push(span)
  }
  return spans
}

interface Histories {
  histories: Map<number, Ancestor[]>
  /** Why others cannot be used. */
  lost: Map<number, NexusError>
}

/** What is damaged, or was archived by nobody of ours, leads nowhere, and keeps nobody from the other timelines. */
async function historiesOf(context: Context, archive: WalArchive, names: readonly string[]): Promise<Histories> {
  const found: Histories = { histories: new Map(), lost: new Map() }
  for (const name of names) {
    const parsed = parseWalName(name)
    if (parsed?.kind !== 'history') continue
    const { timeline } = parsed
    try {
      const { plain } = await archive.read(historyName(timeline))
      found.histories.set(timeline, parseTimelineHistory(plain.toString('utf8'), timeline))
    } catch (error) {
      if (!(error instanceof NexusError) || error.kind !== 'damage') throw error
      warnOnce(context, error.message)
      found.lost.set(timeline, error)
    }
  }
  return found
}

interface WrittenTimelines {
  lastWritten: Map<number, number>
  /** Timelines with segments of which each is damaged or not ours, with what is said of one. */
  useless: Map<number, NexusError>
}

/**
 * When each timeline was last written: its newest base, or the closing of its last segment (`pitr archive` may bring in an old
 * segment late). A head that is damaged, or of a file that is not ours, tells nothing here; the one before it does.
 */
async function lastWrittenOn(
  archive: WalArchive,
  { archived, bases, segmentBytes }: Pick<ClusterSystem, 'archived' | 'bases' | 'segmentBytes'>,
): Promise<WrittenTimelines> {
  const found: WrittenTimelines = { lastWritten: new Map(), useless: new Map() }
  const { lastWritten: last, useless } = found
  const note = (timeline: number, at: number) => last.set(timeline, Math.max(at, last.get(timeline) ?? -Infinity))
  for (const { timeline, capturedAt } of bases) note(timeline, capturedAt)
  for (const [timeline, spans] of archived) {
    const closed = await lastClosed(archive, timeline, spans, segmentBytes)
    if (typeof closed === 'number') note(timeline, closed)
    else if (closed !== null) useless.set(timeline, closed)
  }
  return found
}

/** When the last segment of ours was closed; what is wrong with the segments where none is. */
async function lastClosed(
  archive: WalArchive,
  timeline: number,
  spans: readonly SegmentSpan[],
  segmentBytes: number,
): Promise<number | NexusError | null> {
  let problem: NexusError | null = null
  for (const { from, to } of [...spans].sort((a, b) => b.to - a.to)) {
    for (let segment = to - 1; segment >= from; segment--) {
      try {
        return Date.parse((await archive.headerOfOurs(segmentName(timeline, segment, segmentBytes))).closed_at)
      } catch (error) {
        if (!(error instanceof NexusError) || (error.kind !== 'damage' && error.kind !== 'not-found')) throw error
        if (error.kind === 'damage') problem ??= error
      }
    }
  }
  return problem
}
