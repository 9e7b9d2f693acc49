import type { Context } from '../context.js'
import { NexusError } from '../errors.js'
import { brokenChains } from '../policy/chains.js'
import { type DrillMark, damagedByProof, drillMarks, provenBackups, unsoundBackups } from '../policy/proven.js'
import { unsealedBackups } from '../policy/unsealed.js'
import type { Manifest } from '../repository/manifest.js'
import type { Entry, Proof, SourceRoom } from '../repository/types.js'
import { lostFrom } from '../sources/postgres/data-links.js'
import type { ListedProblem } from './results.js'

/** What is known of one source's backups in one repository. */
export interface Survey {
  /** Every readable manifest, oldest sequence first. */
  manifests: Manifest[]
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
  /** In plain, though earlier ones are encrypted: nobody with a key made them. */
  unsealed: ReadonlySet<string>
  /** Everything damaged or broken, then everything partial. */
  problems: ListedProblem[]
}

/**
 * Reads a source's manifests and proofs and judges them. Takes no lock and changes nothing.
 * @throws NexusError damage when the proofs cannot be read
 */
export async function survey(room: SourceRoom, now: Date): Promise<Survey> {
  return judge(room, await room.entries(), await room.proofs(), now)
}

/**
 * The same for a create: a proof that cannot be read must not keep anybody from backing up, so it is only said, and
 * the others of the source are left out with it.
 */
export async function surveyAnyway(room: SourceRoom, context: Pick<Context, 'now' | 'warn'>): Promise<Survey> {
  try {
    return await survey(room, context.now())
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'proof_damaged') throw error
    context.warn(`${room.name}: ${error.message}`)
    return judge(room, await room.entries(), [], context.now())
  }
}

/** Judges what was read of a source. */
export function judge(room: SourceRoom, entries: readonly Entry[], proofs: readonly Proof[], now: Date): Survey {
  const manifests = entries.flatMap(entry => (entry.status === 'ok' ? [entry.manifest] : []))
  const failed = damagedByProof(proofs, now)
  const lost = entries.flatMap(entry => (entry.status === 'damaged' ? [entry.id] : []))
  const present = new Set(manifests.map(({ id }) => id))
  const damaged = new Set([...lost, ...[...failed.keys()].filter(id => present.has(id))])
  const broken = brokenChains(manifests, damaged)
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
    damaged,
    broken,
    proven: provenBackups(judged, proofs, damaged, now),
    unsound: unsoundBackups(judged, proofs),
    unsoundCaptures: unsoundBackups(manifests),
    drills: drillMarks(proofs),
    unsealed: unsealedBackups(manifests),
    problems: [
      ...[...broken].map(([id, reason]) => problem(id, 'damaged', whyBroken(id, reason))),
      ...entries.flatMap(entry => (entry.status === 'damaged' ? [problem(entry.id, 'damaged', entry.problem)] : [])),
      ...entries.flatMap(({ status, id }) =>
        status === 'partial' ? [problem(id, 'partial', 'of a run that still writes it, or was killed')] : [],
      ),
    ],
  }
}
