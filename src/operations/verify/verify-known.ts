import type { Context } from '../../context.js'
import type { Manifest } from '../../repository/manifest.js'
import type { Repository } from '../../repository/types.js'
import { changeKnown, type KnownBackups, knownSources, memoryOf, readKnown } from '../known-backups.js'
import type { VerifiedBackup } from '../results.js'
import type { VerifyPlan } from './verify-plan.js'

/**
 * Compares a whole source's backups with what this host remembers of them, and remembers those that are there now. One
 * that is another than it was is damage. Of those that are gone, no prune takes the newest: then it is damage too, for
 * somebody has removed them or put back an older state; older ones may have been pruned by another host, and are said.
 */
export async function verifyKnown(
  context: Context,
  { room, manifests, apart, lost, wanted }: VerifyPlan,
): Promise<VerifiedBackup[]> {
  if (!wanted.includes(room.name)) return []
  const { id: repository } = room.repository
  const known = await readKnown(context, repository, room.name)
  // What somebody else has put there is neither remembered nor newer than anything.
  const ours = [...manifests.values()].filter(({ id }) => !apart.has(id))
  const sealed = ours.filter(({ encryption }) => encryption !== undefined)
  const newest = ours.reduce((highest, { sequence }) => Math.max(highest, sequence), 0)
  const present = new Set([...manifests.keys(), ...lost.map(({ id }) => id)])
  const changed = [...manifests.values()].filter(stored => isOther(known, stored))
  const gone = Object.entries(known).filter(([id]) => !present.has(id))
  const taken = gone.filter(([, { sequence }]) => sequence > newest)
  for (const [id] of gone) {
    if (taken.some(([other]) => other === id)) continue
    context.warn(`${room.name}: ${id}, which this host remembers, is gone: pruned by another host, or removed`)
  }
  await changeKnown(context, repository, room.name, before => learned(before, sealed, gone, taken))
  return [
    ...changed.map(({ id }) => finding(room.name, id, 'is another one than this host remembers under this id')),
    ...taken.map(([id]) =>
      finding(
        room.name,
        id,
        'is gone, and no prune removes the newest: an older state was put back, or it was removed',
      ),
    ),
  ]
}

/** Sources that this host remembers and that have no directory any more. */
export async function lostSources(context: Context, repository: Repository): Promise<VerifiedBackup[]> {
  const present = new Set(await repository.sources())
  const results: VerifiedBackup[] = []
  for (const source of await knownSources(context, repository.id)) {
    if (present.has(source)) continue
    const ids = Object.keys(await readKnown(context, repository.id, source))
    results.push(...ids.map(id => finding(source, id, 'is gone with the whole source')))
  }
  return results
}

function isOther(known: KnownBackups, stored: Manifest): boolean {
  const before = known[stored.id]
  return before !== undefined && before.manifest !== memoryOf(stored).manifest
}

/** What was there before stays as it was known: one that was exchanged is told again the next time. */
function learned(
  before: KnownBackups,
  sealed: readonly Manifest[],
  gone: readonly [string, unknown][],
  taken: readonly [string, unknown][],
): KnownBackups {
  const forgotten = new Set(gone.map(([id]) => id).filter(id => !taken.some(([other]) => other === id)))
  const fresh = sealed
    .filter(({ id }) => before[id] === undefined)
    .map(stored => [stored.id, memoryOf(stored)] as const)
  return Object.fromEntries([...Object.entries(before).filter(([id]) => !forgotten.has(id)), ...fresh])
}

function finding(source: string, id: string, problem: string): VerifiedBackup {
  return { id, source, status: 'damaged', level: 'stored', findings: [{ part: 'backup', problem }], affects: [id] }
}
