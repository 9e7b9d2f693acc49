import type { Context } from '../../context.js'
import { quoted } from '../../repository/layout.js'
import type { Manifest } from '../../repository/manifest.js'
import { type PruneRecord, readPruneRecords } from '../../repository/prune-record.js'
import type { Repository, SourceRoom } from '../../repository/types.js'
import { changeKnown, type KnownBackups, knownSources, memoryOf, readKnown } from '../known-backups.js'
import type { VerifiedBackup } from '../results.js'
import { judge, loadHistory } from '../survey.js'
import { keyringOf } from '../trust/keyring-of.js'
import { letIn } from '../trust/let-in.js'
import type { VerifyPlan } from './verify-plan.js'

/**
 * Compares a whole source's backups with what this host remembers of them, and remembers those that are there now. One
 * that is another than it was is damage. What is gone is damage too, unless a host for which the epochs vouch has
 * written down that it pruned it: somebody has removed it or put back an older state. No prune takes the newest; that is
 * told until a newer one is there, the others once.
 * @param known what this host remembered before the backups were listed
 */
export async function verifyKnown(
  context: Context,
  { room, manifests, apart, lost, wanted }: VerifyPlan,
  known: KnownBackups,
): Promise<VerifiedBackup[]> {
  if (!wanted.includes(room.name)) return []
  const { id: repository } = room.repository
  // What somebody else has put there is neither remembered nor newer than anything.
  const ours = [...manifests.values()].filter(({ id }) => !apart.has(id))
  const sealed = ours.filter(({ encryption }) => encryption !== undefined)
  const changed = [...manifests.values()].filter(stored => isOther(known, stored))
  const strangers = [...apart.keys()].map(id => ({ id }))
  const { gone, taken } = await goneOf(context, room, known, [...ours, ...strangers, ...lost])
  const missed = gone.filter(([id]) => !taken.some(([other]) => other === id))
  const pruners = await prunersOf(context, room, missed)
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
    ...(await missedFindings(context, room, missed, pruners)),
  ]
}

type Remembered = [id: string, known: KnownBackups[string]]

/** Backups that are remembered and that neither what was found before nor another look shows; `taken` no prune took. */
async function goneOf(
  context: Context,
  room: SourceRoom,
  known: KnownBackups,
  found: readonly { id: string; sequence?: number }[],
): Promise<{ gone: Remembered[]; taken: Remembered[] }> {
  const missing = (present: readonly { id: string }[]) => {
    const ids = new Set(present.map(({ id }) => id))
    return Object.entries(known).filter(([id]) => !ids.has(id))
  }
  if (missing(found).length === 0) return { gone: [], taken: [] }
  const there = [...found, ...(await presentIn(context, room))]
  const newest = there.reduce((highest, { sequence = 0 }) => Math.max(highest, sequence), 0)
  const gone = missing(there)
  return { gone, taken: gone.filter(([, { sequence }]) => sequence > newest) }
}

/** Which of these backups a host says it pruned: one that the epochs vouch for, or the name and key of another one. */
async function prunersOf(
  context: Context,
  { name: source, repository: { storage, id: repository }, repository: opened }: SourceRoom,
  missed: readonly Remembered[],
): Promise<Map<string, 'ours' | PruneRecord>> {
  const pruners = new Map<string, 'ours' | PruneRecord>()
  if (missed.length === 0) return pruners
  const keyring = await keyringOf(context, opened)
  for (const record of await readPruneRecords(storage, repository, source)) {
    const isBelieved = await keyring.believes(record.signer, source)
    for (const id of record.pruned) if (isBelieved || !pruners.has(id)) pruners.set(id, isBelieved ? 'ours' : record)
  }
  return pruners
}

async function missedFindings(
  context: Context,
  room: SourceRoom,
  missed: readonly Remembered[],
  pruners: ReadonlyMap<string, 'ours' | PruneRecord>,
): Promise<VerifiedBackup[]> {
  const found: VerifiedBackup[] = []
  for (const [id] of missed) {
    const pruner = pruners.get(id)
    if (pruner !== 'ours') found.push(finding(room.name, id, await whyMissed(context, pruner, room.repository)))
  }
  return found
}

async function whyMissed(context: Context, pruner: PruneRecord | undefined, repository: Repository): Promise<string> {
  if (pruner === undefined) {
    return 'is gone, and no prune is on record that took it: it was removed, or pruned by an earlier version on another host'
  }
  const { host, signer } = pruner
  const keyring = await keyringOf(context, repository)
  const { problem, remedy } = await letIn(keyring, repository, { signer, source: undefined, whose: quoted(host) })
  return `is gone; ${quoted(host)} says that it pruned it, with the key ${signer}, ${problem}; if that host is yours: ${remedy}`
}

/** What another look shows; only of ours does the place in the order count. */
async function presentIn(context: Context, room: SourceRoom): Promise<{ id: string; sequence?: number }[]> {
  const { manifests, apart, problems } = judge(
    room,
    await loadHistory(context, room, { thorough: true }),
    [],
    context.now(),
  )
  const others = [
    ...apart.map(({ member }) => member.id),
    ...problems.flatMap(({ id, status }) => (status === 'damaged' ? [id] : [])),
  ]
  return [...manifests, ...others.map(id => ({ id }))]
}

/** Sources that this host remembers and that have no directory any more. */
export async function lostSources(context: Context, repository: Repository): Promise<VerifiedBackup[]> {
  // Before the listing: another run may make the first backup of a source meanwhile.
  const remembered: [source: string, ids: string[]][] = []
  for (const source of await knownSources(context, repository.id)) {
    remembered.push([source, Object.keys(await readKnown(context, repository.id, source))])
  }
  const present = new Set(await repository.sources())
  const missing = remembered.filter(([source]) => !present.has(source))
  if (missing.length === 0) return []
  const again = new Set(await repository.sources())
  return missing
    .filter(([source]) => !again.has(source))
    .flatMap(([source, ids]) => ids.map(id => finding(source, id, 'is gone with the whole source')))
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
