import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { brokenChains } from '../../policy/chains.js'
import { type CopyMember, type CopyPlan, planCopy } from '../../policy/copy-plan.js'
import type { Manifest } from '../../repository/manifest.js'
import type { Entry, SourceRoom } from '../../repository/types.js'
import { memoryOf } from '../known-backups.js'
import { type History, loadHistory, type Survey, survey } from '../survey.js'
import { keyringOf, loadKeyring } from '../trust/keyring-of.js'

/** What is in both repositories, each read once, and what follows from it. */
export interface PlannedCopy {
  found: Survey
  there: Entry[]
  plan: CopyPlan<Manifest & CopyMember>
  /** Backups whose ids are taken there by something else. */
  squatted: { id: string; problem: string }[]
  bytes: number
}

/**
 * Reads both repositories and plans. Writes nothing. Only what is ours is copied, and only what is ours there, or is the very
 * backup that is here, tells how far the copy has come.
 * @param target undefined where it is still to be made
 * @throws NexusError refused `copy_diverged`
 */
export async function planSourceCopy(
  context: Context,
  origin: SourceRoom,
  target: SourceRoom | undefined,
): Promise<PlannedCopy> {
  const found = await survey(origin, context)
  const history = target === undefined ? undefined : await historyThere(context, origin, target)
  const there = (history?.entries ?? []).filter(({ status }) => status !== 'partial')
  const { present, others } = compared(found.manifests, history)
  const squatted = others.map(id => {
    return {
      id,
      problem: `is another backup in ${target?.repository.location ?? 'the copy'}, and nothing is overwritten`,
    }
  })
  const unusable = new Set([...found.damaged, ...others])
  const plan = planCopy({
    origin: found.manifests.map(memberOf),
    broken: new Map([...brokenChains(found.manifests, unusable), ...found.broken]),
    present: present.map(memberOf),
    taken: new Set(there.map(({ id }) => id)),
  })
  if (plan.diverged !== null) throw diverged(origin, plan.diverged, target?.repository.location ?? '')
  return { found, there, plan, squatted, bytes: plan.copy.reduce((sum, { bytes_stored }) => sum + bytes_stored, 0) }
}

/** What the copy holds: who counts here counts there too, also before anything there attests it. */
async function historyThere(context: Context, origin: SourceRoom, target: SourceRoom): Promise<History> {
  const here = await keyringOf(context, origin.repository)
  const also = [here.own, ...(await here.linesOf(origin.name))].flat()
  return loadHistory(context, target, { keyring: await loadKeyring(context, target.repository, also) })
}

/** Backups there that count, and ids of ours under which something else lies there. */
function compared(ours: readonly Manifest[], history: History | undefined): { present: Manifest[]; others: string[] } {
  if (history === undefined) return { present: [], others: [] }
  const digests = new Map(ours.map(manifest => [manifest.id, memoryOf(manifest).manifest]))
  const counts = new Set(history.ours.map(({ id }) => id))
  const present: Manifest[] = []
  const others: string[] = []
  for (const manifest of manifestsOf(history.entries)) {
    const digest = digests.get(manifest.id)
    const isSame = digest === memoryOf(manifest).manifest
    if (digest !== undefined && !isSame) others.push(manifest.id)
    else if (isSame || counts.has(manifest.id)) present.push(manifest)
  }
  return { present, others }
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
