import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { SourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import type { Manifest } from '../../repository/manifest.js'
import { checkRestored } from '../../sources/sqlite/check-restored.js'
import { removeTree } from '../../system/names.js'
import { writeImage } from '../databases/stage-restore.js'
import type { VerifiedBackup } from '../results.js'
import { openSelected } from '../sealing/open-backup.js'
import type { Selected } from '../select.js'
import { survey } from '../survey.js'
import { writeTree } from '../trees/restore-tree.js'
import { drillCluster } from './cluster-drill.js'
import { proofOf } from './proof-of.js'
import type { VerifyPlan } from './verify-plan.js'

/**
 * Restores each target into scratch space, runs integrity and content checks there, and measures how long it took until
 * the source was ready: that is the recovery time an operator can promise.
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
    const { id, status, level, findings, drill: measured } = { ...known, ...drilled }
    const proof = { id, at: context.now().toISOString(), status, level, findings }
    const detail = measured === undefined ? {} : { drill: measured }
    if (plan.room.repository.writable) await plan.room.addProof(proofOf(manifest, { ...proof, ...detail }))
  }
  return results
}

type Drilled = Pick<VerifiedBackup, 'status' | 'level' | 'findings' | 'affects' | 'drill'>
type Checks = NonNullable<VerifiedBackup['drill']>['checks']

async function drillOne(
  context: Context,
  plan: VerifyPlan,
  manifest: Manifest,
  settings: { sources: readonly SourceSettings[]; scratch: string },
): Promise<Drilled> {
  const { room } = plan
  try {
    const selected = await openSelected(context, { room, manifest, survey: await survey(room, context.now()) })
    const { checks, restoreMs } = await restoredAndChecked(context, selected, settings)
    const failed = checks.filter(({ status }) => status === 'failed')
    const findings = failed.map(({ name, detail }) => ({ part: name, problem: `fails after a restore: ${detail}` }))
    const status = findings.length > 0 ? 'damaged' : 'ok'
    const affects = status === 'ok' ? [] : [manifest.id]
    return { status, level: 'drill', findings, affects, drill: { restore_ms: restoreMs, checks } }
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind !== 'damage') throw error
    const findings = [{ part: 'drill', problem: messageOf(error) }]
    return { status: 'damaged', level: 'drill', findings, affects: [manifest.id] }
  }
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
    const { size } = await writeTree(context, selected, { directory: path, elsewhere: new Map() })
    return timed([{ name: 'restored', status: 'ok', detail: `${size} entries` }])
  } finally {
    removeTree(path)
  }
}
