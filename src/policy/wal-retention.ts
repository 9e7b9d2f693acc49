import { instantText, type Line, livingLines, type WalBase, type WalTimeline } from './wal-window.js'

/** A file of the archive as retention sees it. */
export interface WalFile {
  name: string
  timeline: number
  /** The bytes of the log that a segment, or what goes with it (`.backup`, `.partial`), stands for; null for a history. */
  span: { from: bigint; to: bigint } | null
}

export interface WalRetentionInput<F extends WalFile> {
  /** Every base of this system that stays, also damaged ones. */
  bases: readonly WalBase[]
  timelines: readonly WalTimeline[]
  files: readonly F[]
  /** Since when every instant must stay reachable, milliseconds since 1970 UTC; null: `keep.pitr` is not set. */
  since: number | null
  /** Damaged backups that do not say where they begin; captured at in milliseconds since 1970 UTC. */
  lost: readonly { id: string; at: number }[]
  /** Why a system without any base is past; null: it is not known to be. */
  superseded: string | null
}

export interface WalRetentionPlan<F extends WalFile> {
  /** The base with whose first segment the kept WAL begins; null when all is kept, or nothing. */
  keepFrom: WalBase | null
  /** In an order to carry out: what a stop in between leaves has no gap that was not there before. */
  delete: F[]
  reasons: string[]
}

/**
 * Decides which WAL of one system is kept, and why (design section 6; anchors/postgres.md 2.5).
 *
 * - Without `keep.pitr`: everything from the start of the oldest kept base on.
 * - With it: everything from the start of the newest base before the window on, for each line of timelines that the
 *   window has a part of; no such base: from the oldest kept one on. Older bases are points from then on: what they
 *   need to be consistent lies in the backup itself (`pg_basebackup -X fetch`), so they restore without the archive.
 * - Nothing that follows the start of the newest kept base, or of one inside the window, is ever deleted. Positions
 *   decide, never names, and only within one system: order by name deletes the newest after pg_upgrade (wal-g#636).
 * - Timeline histories stay as long as anything of the system stays.
 * - A system without a kept base keeps everything unless it is known to be past.
 */
export function planWalRetention<F extends WalFile>(input: WalRetentionInput<F>): WalRetentionPlan<F> {
  const { bases, files, since } = input
  if (bases.length === 0) return withoutBases(input)
  const lines = since === null ? [] : livingLines(bases, input.timelines, since)
  const isCovered = since !== null && lines.every(({ anchor }) => anchor !== undefined)
  const unknown = isCovered ? undefined : input.lost.find(({ at }) => bases.every(base => !(base.at < at)))
  if (unknown !== undefined) {
    return keepAll(`all of it: ${unknown.id} is damaged and older than every base, so where it begins is not known`)
  }
  const rolling = isCovered ? basesThatRoll(bases, lines, since) : bases
  const first = rolling.reduce((lowest, base) => (base.start < lowest.start ? base : lowest))
  const points = bases.filter(({ held }) => held < first.start).map(({ id }) => id)
  return {
    keepFrom: first,
    delete: inOrder(files.filter(({ span }) => span !== null && span.to <= first.start)),
    reasons: [whyFrom(first, lines, since), ...points.map(id => `${id} is a point, not the beginning of a window`)],
  }
}

function withoutBases<F extends WalFile>({ files, superseded, lost }: WalRetentionInput<F>): WalRetentionPlan<F> {
  if (superseded === null) return keepAll('all of it: no base of this system is kept yet')
  const [unknown] = lost
  if (unknown !== undefined) return keepAll(`all of it: ${unknown.id} is damaged and may be of this system`)
  return { keepFrom: null, delete: inOrder(files), reasons: [superseded] }
}

function keepAll<F extends WalFile>(reason: string): WalRetentionPlan<F> {
  return { keepFrom: null, delete: [], reasons: [reason] }
}

/** The bases from which one must be able to roll forward: those the window hangs on, those in it, and the newest. */
function basesThatRoll(bases: readonly WalBase[], lines: readonly Line[], since: number): WalBase[] {
  const anchors = lines.flatMap(({ anchor }) => (anchor === undefined ? [] : [anchor]))
  const inside = bases.filter(({ at }) => !(at <= since))
  // A clock set back makes the newest by sequence another than the newest by time.
  const newest = [
    bases.reduce((a, b) => (b.sequence > a.sequence ? b : a)),
    bases.reduce((a, b) => (b.at > a.at ? b : a)),
  ]
  return [...newest, ...anchors, ...inside]
}

function whyFrom({ id }: WalBase, lines: readonly Line[], since: number | null): string {
  if (since === null) return `from ${id} on, the oldest base that is kept`
  const window = `pitr: the window since ${instantText(since)}`
  if (lines.some(({ anchor }) => anchor?.id === id)) return `${window} begins with ${id}`
  const isOpen = lines.some(({ anchor }) => anchor === undefined)
  if (isOpen) return `${window} has no base from before it, so from ${id} on, the oldest that is kept`
  return `from ${id} on, ${lines.length === 0 ? 'the newest base of this system' : 'which lies in the window'}`
}

/** Oldest first, so that a window only loses its beginning; histories last, the newest first. */
function inOrder<F extends WalFile>(files: readonly F[]): F[] {
  return [...files].sort((a, b) => {
    if (a.span === null || b.span === null) {
      if (a.span !== null || b.span !== null) return a.span === null ? 1 : -1
      return b.timeline - a.timeline
    }
    if (a.span.from !== b.span.from) return a.span.from < b.span.from ? -1 : 1
    return a.timeline - b.timeline || (a.name < b.name ? -1 : 1)
  })
}
