import type { KeepPolicy } from '../../config/settings.js'
import { planWalRetention, type WalFile, type WalRetentionPlan } from '../../policy/wal-retention.js'
import { basesOfWindow, livingLines, windowStart } from '../../policy/wal-window.js'
import type { SystemBase } from '../wal/wal-bases.js'
import type { WalSurvey, WalSystem } from '../wal/wal-survey.js'

/** What prune is to do with the WAL of one system. */
export interface SystemWalPlan extends WalRetentionPlan<WalFile> {
  system: WalSystem
  /** Of the base whose first segment the kept WAL begins with. */
  keepFromSegment: string | null
}

/** The window of `keep.pitr` over a source's WAL. */
export interface PitrWindow {
  /** Milliseconds since 1970 UTC; null where `keep.pitr` is not set. */
  since: number | null
  /** Bases that it hangs on, with the reason. */
  pinned: Map<string, string>
}

/** Where the window of `keep.pitr` begins, and which bases it hangs on. */
export function pitrWindow({ systems }: WalSurvey, { pitr }: KeepPolicy, now: Date): PitrWindow {
  if (pitr === undefined || pitr <= 0) return { since: null, pinned: new Map() }
  const evidence = systems.flatMap(({ bases, timelines }) => [
    ...bases.map(({ at }) => at),
    ...timelines.flatMap(({ lastArchived }) => lastArchived ?? []),
  ])
  const since = windowStart(pitr, now.getTime(), evidence)
  const lines = systems.flatMap(({ bases, timelines }) => livingLines(bases, timelines, since))
  return { since, pinned: basesOfWindow(lines, since) }
}

/**
 * What happens to the WAL of each system once only these backups are left.
 * @param kept ids of the backups that stay
 * @param claimed the system that writes to this source now; undefined where that is not known
 */
export function planWal(
  { systems, lost }: WalSurvey,
  kept: ReadonlySet<string>,
  since: number | null,
  claimed: string | undefined,
): SystemWalPlan[] {
  const staying = systems.flatMap(({ bases }) => bases.filter(({ id }) => kept.has(id)))
  return systems.map(system => {
    const bases = staying.filter(base => base.system === system.system)
    const { timelines, files } = system
    if (bases.length > 0 && system.segmentBytes === null) return keptWhole(system)
    const superseded = bases.length > 0 ? null : whySuperseded(system, staying, claimed)
    const plan = planWalRetention({ bases, timelines, files, since, lost, superseded })
    const first = bases.find(({ id }) => id === plan.keepFrom?.id)
    return { ...plan, system, keepFromSegment: first?.startSegment ?? null }
  })
}

/** Positions in the log cannot be compared by names of two kinds. */
function keptWhole(system: WalSystem): SystemWalPlan {
  const reasons = ['all of it: the bases of this system have segments of several sizes']
  return { keepFrom: null, delete: [], reasons, system, keepFromSegment: null }
}

/**
 * Why the WAL of a system without a base is of no use: another system has taken its place (pg_upgrade, initdb), and was
 * backed up after the last WAL of this one. Null where that is not certain.
 */
function whySuperseded(
  { system, timelines }: WalSystem,
  staying: readonly SystemBase[],
  claimed: string | undefined,
): string | null {
  if (claimed === undefined || claimed === system) return null
  const last = timelines.reduce((newest, { lastArchived }) => Math.max(newest, lastArchived ?? Infinity), -Infinity)
  const successor = staying.find(base => base.system === claimed && base.isSound && base.at > last)
  if (successor === undefined) return null
  return `none of it: no base of this system is kept, and system ${claimed} has taken its place since ${successor.id}`
}
