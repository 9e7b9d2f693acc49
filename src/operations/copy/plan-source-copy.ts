import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { type CopyMember, type CopyPlan, planCopy } from '../../policy/copy-plan.js'
import { unsealedProblem } from '../../policy/unsealed.js'
import type { Manifest } from '../../repository/manifest.js'
import type { Entry, SourceRoom } from '../../repository/types.js'
import { type Survey, survey } from '../survey.js'

/** What is in both repositories, each read once, and what follows from it. */
export interface PlannedCopy {
  found: Survey
  there: Entry[]
  plan: CopyPlan<Manifest & CopyMember>
  bytes: number
}

/**
 * Reads both repositories and plans. Writes nothing.
 * @param target undefined where it is still to be made
 * @throws NexusError refused `copy_diverged`
 */
export async function planSourceCopy(
  context: Context,
  origin: SourceRoom,
  target: SourceRoom | undefined,
): Promise<PlannedCopy> {
  const found = await survey(origin, context.now())
  const entries = target === undefined ? [] : await target.entries()
  const there = entries.filter(({ status }) => status !== 'partial')
  const plan = planCopy({
    origin: found.manifests.map(memberOf),
    broken: new Map([...found.broken, ...[...found.unsealed].map(id => [id, `it ${unsealedProblem}`] as const)]),
    present: manifestsOf(there).map(memberOf),
    taken: new Set(there.map(({ id }) => id)),
  })
  if (plan.diverged !== null) throw diverged(origin, plan.diverged, target?.repository.location ?? '')
  return { found, there, plan, bytes: plan.copy.reduce((sum, { bytes_stored }) => sum + bytes_stored, 0) }
}

/** The manifests that can be read. */
export function manifestsOf(entries: readonly Entry[]): Manifest[] {
  return entries.flatMap(entry => (entry.status === 'ok' ? [entry.manifest] : []))
}

/** Ids of the backups that are in the other repository once the plan is carried out. */
export function idsAfter(there: readonly Entry[], { copy }: CopyPlan<CopyMember>): Set<string> {
  return new Set([...there, ...copy].map(({ id }) => id))
}

function memberOf(manifest: Manifest): Manifest & CopyMember {
  return { ...manifest, at: Date.parse(manifest.captured_at) }
}

function diverged(
  { name, repository }: SourceRoom,
  { newest, behind }: NonNullable<CopyPlan<CopyMember>['diverged']>,
  target: string,
): NexusError {
  const message = `${target} holds backups of ${name} that do not come from ${repository.location}: ${newest.id} there has a higher number than the later ${behind.id}`
  return new NexusError('refused', 'copy_diverged', message, {
    hint: `nothing was copied and nothing is lost; ${repository.location} was begun anew: bring the old backups back into an empty repository first (nexus-backup copy ${name} --repo ${target} --to DIR), or copy to another prefix`,
  })
}
