import { bySequence } from '../policy/chains.js'
import { type Check, FORMAT, type Manifest } from '../repository/manifest.js'
import type { BackUpTask } from './back-up.js'
import type { CapturedSource, StoredImage } from './write-backup.js'

/** The manifest of a backup whose parts are written. */
export function manifestOf(
  task: BackUpTask,
  { capture }: CapturedSource,
  stored: StoredImage & { id: string; checks: Check[] },
): Manifest {
  const { context, plan, source, request, history } = task
  const { image } = capture
  const damaged = stored.checks.some(({ status }) => status === 'failed')
  return {
    format: FORMAT,
    id: stored.id,
    sequence: ([...history.manifests].sort(bySequence).at(-1)?.sequence ?? 0) + 1,
    run_id: task.runId,
    source: source.name,
    kind: source.kind,
    host: context.host,
    operator: { ...context.operator },
    type: plan.type,
    parent: plan.parent?.id ?? null,
    captured_at: capture.capturedAt.toISOString(),
    keep_until: request.keepUntil,
    label: request.label,
    versions: { nexus_backup: context.toolVersion, sqlite: capture.sqliteVersion },
    files: [{ path: stored.fileName, size: image.size, block_size: image.blockSize }],
    digest_algorithm: source.digestAlgorithm,
    digest_seed: stored.digestSeed,
    image_digest: stored.imageDigest,
    parts: stored.parts,
    checks: stored.checks,
    damaged_source: damaged,
    bytes_source: image.size,
    bytes_stored: stored.parts.reduce((sum, { bytes }) => sum + bytes, 0),
    blocks_total: Math.ceil(image.size / image.blockSize),
    blocks_stored: stored.blocksStored,
    duration_ms: Math.max(0, context.now().getTime() - task.began.getTime()),
    warnings: damaged ? [...plan.warnings, 'the source failed its checks'] : plan.warnings,
    facts: { ...capture.facts, journal: journalHead(task) },
  }
}

/** A backup is worth more than its record: a journal that cannot be read is reported and holds nothing up. */
function journalHead({ context, journal }: BackUpTask): ReturnType<BackUpTask['journal']['head']> {
  try {
    return journal.head()
  } catch (error) {
    context.journalFailed(error)
    return null
  }
}
