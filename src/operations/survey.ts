import type { Context } from '../context.js'
import type { NexusError } from '../errors.js'
import { brokenChains } from '../policy/chains.js'
import { type DrillMark, damagedByProof, drillMarks, provenBackups, unsoundBackups } from '../policy/proven.js'
import { standingOnApart } from '../policy/trust.js'
import type { Keyring } from '../repository/keyring/keyring.js'
import type { Manifest } from '../repository/manifest.js'
import { isToCome } from '../repository/proof-history.js'
import type { Proof, SourceRoom } from '../repository/types.js'
import { lostFrom } from '../sources/postgres/data-links.js'
import { type KnownBackups, readKnown } from './known-backups.js'
import { manifestCacheOf } from './manifest-cache.js'
import type { ListedProblem } from './results.js'
import { type ApartBackup, type JudgedEntries, judgeEntries } from './trust/judged.js'
import { keyringOf } from './trust/keyring-of.js'
import { loadProofs } from './trust/proofs.js'
import { warnOnce } from './trust/warn-once.js'

/** What is known of one source's backups in one repository. */
export interface Survey {
  /** Every readable manifest of a backup that is ours, oldest sequence first: nothing else is ever latest, parent or proven. */
  manifests: Manifest[]
  /** Backups that are not ours, oldest sequence first: they are shown, and count for nothing. */
  apart: ApartBackup[]
  /** The newest backup that this host remembers, where that is gone and no other has come after it. */
  gone: { id: string; sequence: number } | null
  /** Ids that are damaged themselves: by their files' look, or by their newest verify. */
  damaged: ReadonlySet<string>
  /** Manifests' ids that cannot be restored, with the reason; the damaged among them. */
  broken: ReadonlyMap<string, string>
  proven: ReadonlySet<string>
  unsound: ReadonlySet<string>
  /** Those of them of which the manifests say so: what only a drill saw costs no window. */
  unsoundCaptures: ReadonlySet<string>
  /** What the newest drill says against a backup: said at a restore, never a reason to refuse one. */
  drills: ReadonlyMap<string, DrillMark>
  /** Backups of which some proof cannot be read: it may have said anything. */
  doubtful: ReadonlySet<string>
  /** Everything damaged or broken, then everything partial. */
  problems: ListedProblem[]
}

type Surveyor = Pick<Context, 'now' | 'warn' | 'stateDirectory' | 'toolVersion'>

/** How much of a source's manifests is read. */
export interface Looking {
  /** Every manifest, or those of these backups, is read itself. */
  thorough?: boolean | ReadonlySet<string>
  /** As `SourceRoom.entries` wants it. */
  present?: readonly string[]
  /** Manifests that did not change since an earlier run read them are not read again, on a disk. For what destroys nothing. */
  cached?: boolean
}

/** A source's backups and what this host remembers of them. */
export interface History extends JudgedEntries {
  known: KnownBackups
}

/**
 * Reads a source's manifests and judges whose they are. What this host remembers is read first: what is committed meanwhile
 * must not look as if it were gone.
 * @param options.keyring whose word counts, where that is not what the repository itself says
 */
export async function loadHistory(
  context: Surveyor,
  room: SourceRoom,
  options: Looking & { keyring?: Keyring } = {},
): Promise<History> {
  const known = await readKnown(context, room.repository.id, room.name)
  const { thorough = false, present = [], cached = false, ...rest } = options
  const onDamage = (error: NexusError) =>
    warnOnce(context, `${room.name}: ${error.message}; what it sums up is read file by file`)
  const memory = cached ? manifestCacheOf(context, room) : undefined
  // Keys that come with a later backup are read again (`Keyring.judge`).
  const [entries] = await Promise.all([
    room.entries({ thorough, present, memory, onDamage }),
    rest.keyring ?? keyringOf(context, room.repository),
  ])
  return { known, ...(await judgeEntries(context, room, entries, { known, memory, ...rest })) }
}

/**
 * Reads a source's manifests and proofs and judges them. Takes no lock and changes nothing. Proofs that do not count are
 * warnings (`loadProofs`).
 *
 * @param options.proofsOf the backups whose proofs are wanted, where those of all are not: no other is judged damaged,
 *   proven or drilled by a proof then
 */
export async function survey(
  room: SourceRoom,
  context: Surveyor,
  { proofsOf, ...looking }: Looking & { proofsOf?: (history: History) => readonly Manifest[] } = {},
): Promise<Survey> {
  const history = await loadHistory(context, room, looking)
  const { proofs, doubtful } = await loadProofs(context, room, proofsOf?.(history) ?? history.ours)
  return { ...judge(room, history, proofs, context.now()), doubtful }
}

/**
 * The same for who uses some of the backups: only their manifests are read themselves where those of all the others are as an
 * earlier run read them, and what these turn out to be decides again.
 * @param used ids of the backups that are used, by what was found
 */
export async function surveyUsing(
  room: SourceRoom,
  context: Surveyor,
  used: (found: Survey) => readonly string[],
  options: Parameters<typeof survey>[2] = {},
): Promise<Survey> {
  const read = new Set<string>()
  for (;;) {
    const found = await survey(room, context, { ...options, cached: true, thorough: read })
    const ids = used(found)
    if (ids.every(id => read.has(id)) || (await room.confirm(ids))) return found
    for (const id of ids) read.add(id)
  }
}

/** Judges what was read of a source. Proofs of a time to come count for nothing: no later one could ever take them back. */
export function judge(room: SourceRoom, history: History, found: readonly Proof[], now: Date): Survey {
  const proofs = found.filter(({ at }) => !isToCome(at, now))
  const { entries, ours: manifests, apart } = history
  const failed = damagedByProof(proofs, now)
  const lost = entries.flatMap(entry => (entry.status === 'damaged' ? [entry.id] : []))
  const present = new Set(manifests.map(({ id }) => id))
  const damaged = new Set([...lost, ...[...failed.keys()].filter(id => present.has(id))])
  const cut = standingOnApart(manifests, new Map(apart.map(one => [one.member.id, one])))
  const broken = brokenChains(manifests, damaged)
  for (const [id, parent] of cut) broken.set(id, `it stands on ${parent}, which ${problemOf(apart, parent)}`)
  // Of a backup that lacks data nobody can say that it is proven, whatever its bytes are.
  const judged = manifests.map(manifest =>
    lostFrom(manifest).length === 0 ? manifest : { ...manifest, damaged_source: true },
  )

  const ofDrill = new Set(proofs.flatMap(({ id, at, level }) => (level === 'drill' ? [`${id} ${at}`] : [])))

  function problem(id: string, status: 'damaged' | 'partial', text: string): ListedProblem {
    return { id, source: room.name, repository: room.repository.location, status, problem: text }
  }
  function whyBroken(id: string, reason: string): string {
    const at = failed.get(id)
    if (at === undefined) return `cannot be restored: ${reason}`
    // Drills of earlier releases called it damage when only they had failed.
    if (!ofDrill.has(`${id} ${at}`)) return `the verify of ${at} found it damaged`
    return `the drill of ${at} called it damaged; when its bytes are whole, this takes it back: nexus-backup verify ${id}`
  }
  return {
    manifests,
    apart,
    gone: newestGone(history),
    damaged,
    broken,
    proven: provenBackups(judged, proofs, damaged, now),
    unsound: unsoundBackups(judged, proofs),
    unsoundCaptures: unsoundBackups(manifests),
    drills: drillMarks(proofs),
    doubtful: new Set(),
    problems: [
      ...[...broken].map(([id, reason]) => problem(id, 'damaged', whyBroken(id, reason))),
      ...apart.flatMap(({ member: { id }, trust, problem: text }) =>
        trust === 'badly-signed' ? [problem(id, 'damaged', `is not what was written: it ${text}`)] : [],
      ),
      ...entries.flatMap(entry => (entry.status === 'damaged' ? [problem(entry.id, 'damaged', entry.problem)] : [])),
      ...entries.flatMap(({ status, id }) =>
        status === 'partial' ? [problem(id, 'partial', 'of a run that still writes it, or was killed')] : [],
      ),
    ],
  }
}

function problemOf(apart: readonly ApartBackup[], id: string): string {
  return apart.find(({ member }) => member.id === id)?.problem ?? 'is not ours'
}

/** No prune takes the newest: where that is gone, somebody has removed it or put an older state back. */
function newestGone({ entries, ours, known }: History): Survey['gone'] {
  const present = new Set(entries.map(({ id }) => id))
  const newest = ours.reduce((highest, { sequence }) => Math.max(highest, sequence), 0)
  const gone = Object.entries(known)
    .filter(([id, { sequence }]) => !present.has(id) && sequence > newest)
    .sort(([, a], [, b]) => a.sequence - b.sequence)
  const [id, memory] = gone.at(-1) ?? []
  return id === undefined || memory === undefined ? null : { id, sequence: memory.sequence }
}
