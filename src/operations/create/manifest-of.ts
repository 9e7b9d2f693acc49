import { type Check, FORMAT, type Manifest, type ManifestPart } from '../../repository/manifest.js'
import type { OpenManifest } from '../sealing/open-backup.js'
import type { BackUpTask } from './back-up.js'

/** What storing an image yields for its manifest. */
export interface StoredImage {
  parts: ManifestPart[]
  /** Empty for a tree, whose files are in a part of their own. */
  files: Manifest['files']
  tree?: NonNullable<Manifest['tree']>
  bytesSource: number
  blocksTotal: number
  blocksStored: number
  digestSeed: string
  imageDigest: string
}

/** What the source says of the image. */
export interface ImageFacts {
  id: string
  capturedAt: Date
  checks: Check[]
  facts: Record<string, unknown>
  versions: Record<string, string>
  warnings: string[]
  incomplete?: boolean
  /** It stands on a backup whose content fails its checks, and was not looked at itself. */
  inheritsDamage?: boolean
}

/** The manifest of a backup whose parts are written. */
export function manifestOf(task: BackUpTask, stored: StoredImage & ImageFacts): OpenManifest {
  const { context, plan, source, request } = task
  const failed = stored.checks.some(({ status }) => status === 'failed')
  const inherited = !failed && stored.inheritsDamage === true
  const damaged = failed || inherited
  const warnings = [...plan.warnings, ...stored.warnings]
  if (failed) warnings.push('the source failed its checks')
  if (inherited)
    warnings.push(`it stands on ${plan.parent?.id}, whose content fails its checks, and was not checked itself`)
  return {
    format: FORMAT,
    id: stored.id,
    sequence: sequenceAfter(task),
    run_id: task.runId,
    source: source.name,
    kind: source.kind,
    host: context.host,
    operator: { ...context.operator },
    type: plan.type,
    parent: plan.parent?.id ?? null,
    captured_at: stored.capturedAt.toISOString(),
    keep_until: request.keepUntil,
    label: request.label,
    versions: { nexus_backup: context.toolVersion, ...stored.versions },
    files: stored.files,
    ...(stored.tree === undefined ? {} : { tree: stored.tree }),
    digest_algorithm: source.digestAlgorithm,
    digest_seed: stored.digestSeed,
    image_digest: stored.imageDigest,
    parts: stored.parts,
    checks: stored.checks,
    damaged_source: damaged,
    ...(stored.incomplete === true ? { incomplete: true } : {}),
    bytes_source: stored.bytesSource,
    bytes_stored: stored.parts.reduce((sum, { bytes }) => sum + bytes, 0),
    blocks_total: stored.blocksTotal,
    blocks_stored: stored.blocksStored,
    duration_ms: Math.max(0, context.now().getTime() - task.began.getTime()),
    warnings,
    facts: { ...stored.facts, journal: journalHead(task) },
  }
}

/** Above every backup that is ours, and above those that this host has signed itself before anybody vouched for it. */
function sequenceAfter({ history: { manifests, apart }, sealing }: BackUpTask): number {
  const own = apart.filter(
    ({ member, trust }) => trust === 'stranger' && member.encryption?.signer === sealing?.signer.id,
  )
  const known = [...manifests, ...own.map(({ member }) => member)]
  return known.reduce((highest, { sequence }) => Math.max(highest, sequence), 0) + 1
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
