import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { SourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import type { Manifest } from '../../repository/manifest.js'
import type { ProofStatus } from '../../repository/types.js'
import { checkRestored } from '../../sources/sqlite/check-restored.js'
import { removeTree } from '../../system/names.js'
import { writeImage } from '../databases/stage-restore.js'
import { judgeRestored } from '../restored-content.js'
import type { RestoredCheck, VerifiedBackup } from '../results.js'
import { openSelected } from '../sealing/open-backup.js'
import type { Selected } from '../select.js'
import { survey } from '../survey.js'
import { writeTree } from '../trees/restore-tree.js'
import { keepProofs } from '../trust/proofs.js'
import { drillCluster } from './cluster-drill.js'
import { proofOf } from './proof-of.js'
import type { VerifyPlan } from './verify-plan.js'

/**
 * Kinds of damage that are not about the backup's stored bytes: what a manifest tells is not understood here, a server on
 * the copy ended, or small files beside the backup are damaged.
 */
const others: ReadonlySet<string> = new Set([
  'facts_damaged',
  'server_died',
  'source_damaged',
  'proof_damaged',
  'keys_damaged',
])

/**
 * Restores each target into scratch space, runs integrity and content checks there, and measures how long it took until
 * the source was ready: that is the recovery time an operator can promise.
 *
 * Only bytes that differ from their digests are damage. A drill that this machine keeps from being carried out has failed,
 * and one that finds what was captured wrong says so: neither keeps anybody from restoring the backup.
 */
export async function drill(
  context: Context,
  plan: VerifyPlan,
  verified: readonly VerifiedBackup[],
  settings: { sources: readonly SourceSettings[]; scratch: string },
): Promise<VerifiedBackup[]> {
  const results = [...verified]
  for (const manifest of plan.targets) {
    const at = results.findIndex(({ id }) => id === manifest.id)
    const known = results[at]
    if (known === undefined || known.status !== 'ok') continue
    const drilled = await drillOne(context, plan, manifest, settings)
    results[at] = { ...known, ...drilled }
    const { id } = known
    const { status, level, findings, drill: measured } = drilled
    context.signal.throwIfAborted()
    const proof = { id, at: context.now().toISOString(), status, level, findings }
    const detail = measured === undefined ? {} : { drill: measured }
    const proofs = [proofOf(manifest, { ...proof, ...detail })]
    if (plan.room.repository.writable) await keepProofs(context, plan.room, { proofs, manifests: [manifest] })
  }
  return results
}

type Drilled = Pick<VerifiedBackup, 'level' | 'findings' | 'affects' | 'drill'> & { status: ProofStatus }
type Checks = RestoredCheck[]

async function drillOne(
  context: Context,
  plan: VerifyPlan,
  manifest: Manifest,
  settings: { sources: readonly SourceSettings[]; scratch: string },
): Promise<Drilled> {
  const { room } = plan
  try {
    const selected = await openSelected(context, { room, manifest, survey: await survey(room, context) })
    const { checks, restoreMs } = await restoredAndChecked(context, selected, settings)
    const drill = { restore_ms: restoreMs, checks }
    return { ...judgeRestored(checks), level: 'drill', affects: [], drill }
  } catch (error) {
    context.signal.throwIfAborted()
    if (isDamage(error)) {
      const findings = [{ part: 'drill', problem: messageOf(error) }]
      return { status: 'damaged', level: 'drill', findings, affects: [manifest.id] }
    }
    return { status: 'drill-failed', level: 'drill', findings: [{ part: 'drill', problem: told(error) }], affects: [] }
  }
}

/** Whether an error in a drill says that stored bytes differ from their digests, or are gone. */
function isDamage(error: unknown): boolean {
  return error instanceof NexusError && error.kind === 'damage' && !others.has(error.code)
}

/** Why a drill could not be carried out, and what to do about it. */
function told(error: unknown): string {
  const hint = error instanceof NexusError && error.hint !== undefined ? `; ${error.hint}` : ''
  return `could not be carried out: ${messageOf(error)}${hint}`
}

async function restoredAndChecked(
  context: Context,
  selected: Selected,
  { sources, scratch }: { sources: readonly SourceSettings[]; scratch: string },
): Promise<{ checks: Checks; restoreMs: number }> {
  const began = performance.now()
  const timed = (checks: Checks) => ({ checks, restoreMs: Math.round(performance.now() - began) })
  const { manifest } = selected
  const source = sources.find(({ name }) => name === manifest.source)
  if (manifest.kind === 'postgres') {
    const cluster = source?.kind === 'postgres' ? source : null
    return drillCluster(context, selected, { source: cluster, scratch })
  }
  const path = join(scratch, 'drill')
  try {
    if (manifest.kind !== 'files') {
      // A database is put in place once it is checked: that is part of its restore.
      return timed(await writeImage(context, selected, path, () => checkRestored(path, manifest, context.signal)))
    }
    await mkdir(path, { mode: 0o700 })
    const { size, problems } = await writeTree(context, selected, { directory: path, elsewhere: new Map() })
    const detail = [`${size} entries`, ...problems.sentences()].join('; ')
    return timed([{ name: 'restored', status: problems.missing.size > 0 ? 'error' : 'ok', detail }])
  } finally {
    removeTree(path)
  }
}
