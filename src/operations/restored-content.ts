import type { Context } from '../context.js'
import { messageOf, NexusError } from '../errors.js'
import type { ProofStatus } from '../repository/types.js'
import type { RestoredCheck, VerifiedBackup } from './results.js'
import type { Selected } from './select.js'
import { keepProofInPassing } from './trust/proofs.js'
import { proofOf } from './verify/proof-of.js'

/** What the checks of restored content come to. What was found wrong counts for more than what could not be looked at. */
export function judgeRestored(checks: readonly RestoredCheck[]): {
  status: Extract<ProofStatus, 'ok' | 'source-damaged' | 'drill-failed'>
  findings: VerifiedBackup['findings']
} {
  const failed = checks.filter(({ status }) => status === 'failed')
  const unrun = checks.filter(({ status }) => status === 'error')
  const findings = [
    ...failed.map(({ name, detail }) => ({ part: name, problem: `fails after a restore: ${detail}` })),
    ...unrun.map(({ name, detail }) => ({ part: name, problem: `could not be run after a restore: ${detail}` })),
  ]
  const status = failed.length > 0 ? 'source-damaged' : unrun.length > 0 ? 'drill-failed' : 'ok'
  return { status, findings }
}

/**
 * Remembers in the repository what a restore found in the content of a backup, as a drill does: the next restore says it
 * before anything is read, and what nobody had looked into is proven. Nothing is written where it is known already. A
 * repository that cannot be written keeps nobody from restoring.
 *
 * @param selected under the lock that keeps it from being pruned
 */
export async function rememberRestored(
  context: Context,
  { manifest, room, survey, untrusted }: Selected,
  checks: readonly RestoredCheck[],
): Promise<void> {
  const { id } = manifest
  const { status, findings } = judgeRestored(checks)
  if (status === 'drill-failed' || untrusted === true || !room.repository.writable) return
  const isKnown =
    status === 'ok'
      ? survey.proven.has(id) || survey.unsoundCaptures.has(id)
      : survey.drills.get(id)?.status === 'source-damaged'
  if (isKnown) return
  const proof = proofOf(manifest, { id, at: context.now().toISOString(), status, level: 'drill', findings })
  try {
    await keepProofInPassing(context, room, { proof, manifest })
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind === 'interrupted') throw error
    context.warn(`${manifest.source}: what this restore found is not remembered: ${messageOf(error)}`)
  }
}
