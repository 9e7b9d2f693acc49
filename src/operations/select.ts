import type { RepositorySettings } from '../config/settings.js'
import type { Context } from '../context.js'
import { NexusError } from '../errors.js'
import { unsealedProblem } from '../policy/unsealed.js'
import { isBackupId } from '../repository/layout.js'
import type { Manifest } from '../repository/manifest.js'
import type { SourceRoom } from '../repository/types.js'
import { chainOf } from './chain-members.js'
import { roomsOf } from './rooms.js'
import { type Survey, survey } from './survey.js'

/** A backup found, with what is known of its source. */
export interface Selected {
  room: SourceRoom
  survey: Survey
  manifest: Manifest
}

/**
 * Finds a backup by its id, a unique prefix of one, or a source's name, meaning its latest; with `at`, the newest one
 * captured not after that instant. An incomplete one is the latest only where there is no complete one.
 *
 * @throws NexusError `not-found`, `usage` for an ambiguous prefix (naming the candidates), `damage` when the backup
 *   meant is damaged, or so damaged that only its id shows it to be the one meant: an older one is never silently taken
 */
export async function selectBackup(
  context: Context,
  repositories: readonly RepositorySettings[],
  wanted: { backup: string; at?: Date | undefined },
): Promise<Selected> {
  const rooms = await roomsOf(repositories, undefined)
  const named = rooms.filter(({ name }) => name === wanted.backup)
  if (named.length > 0) return latestOf(context, named, wanted)
  const matches: Selected[] = []
  const damaged: { id: string; problem: string }[] = []
  for (const room of rooms) {
    const known = await survey(room, context.now())
    const found = known.manifests.filter(({ id }) => id.startsWith(wanted.backup))
    matches.push(...found.map(manifest => ({ room, survey: known, manifest })))
    const lost = known.problems.filter(({ id, status }) => status === 'damaged' && id.startsWith(wanted.backup))
    damaged.push(...lost.filter(({ id }) => !found.some(manifest => manifest.id === id)))
  }
  const ids = [...new Set([...matches.map(({ manifest }) => manifest.id), ...damaged.map(({ id }) => id)])]
  if (ids.length > 1) throw ambiguous(wanted.backup, ids)
  const [match] = matches
  if (match !== undefined) return assertWhole(match)
  const [lost] = damaged
  if (lost !== undefined) throw unusable(lost.id, lost.problem)
  throw new NexusError('not-found', 'backup_not_found', `there is no backup or source '${wanted.backup}'`, {
    hint: "'nexus-backup list' shows what there is",
  })
}

/**
 * Looks at a selected backup again, now that a lock keeps it from being pruned, and has its chain thawed where a store keeps
 * it in an archive.
 *
 * @throws NexusError `not-found` when it was pruned meanwhile, `damage`
 */
export async function reselect(context: Context, { room, manifest: { id } }: Selected): Promise<Selected> {
  const known = await survey(room, context.now())
  const manifest = known.manifests.find(member => member.id === id)
  if (manifest !== undefined) {
    const selected = assertWhole({ room, survey: known, manifest })
    const chain = chainOf(manifest, new Map(known.manifests.map(member => [member.id, member])))
    await room.thaw(chain.map(member => member.id))
    return selected
  }
  const lost = known.problems.find(problem => problem.id === id)
  if (lost !== undefined) throw unusable(id, lost.problem)
  throw new NexusError('not-found', 'backup_not_found', `${id} was pruned meanwhile`, {
    hint: "choose another: 'nexus-backup list' shows what there is",
  })
}

async function latestOf(
  context: Context,
  rooms: readonly SourceRoom[],
  { backup, at }: { backup: string; at?: Date | undefined },
): Promise<Selected> {
  const candidates: Selected[] = []
  const unreadable: { id: string; problem: string }[] = []
  for (const room of rooms) {
    const known = await survey(room, context.now())
    unreadable.push(...unreadableOf(known))
    const early = known.manifests.filter(
      ({ captured_at }) => at === undefined || Date.parse(captured_at) <= at.getTime(),
    )
    const manifest = latestIn(early.filter(isComplete), at) ?? latestIn(early, at)
    if (manifest !== undefined) candidates.push({ room, survey: known, manifest })
  }
  const [best] = candidates.sort(
    (a, b) =>
      Number(isComplete(b.manifest)) - Number(isComplete(a.manifest)) ||
      b.manifest.captured_at.localeCompare(a.manifest.captured_at),
  )
  const lost = unreadable.findLast(({ id }) => {
    return (
      (best === undefined || instantOf(id) > instantOf(best.manifest.id)) &&
      (at === undefined || instantOf(id) <= stampOf(at))
    )
  })
  if (lost !== undefined) throw unusable(lost.id, lost.problem, best && newestSound(best.survey))
  if (best?.survey.unsealed.has(best.manifest.id)) throw unsealed(best)
  if (best !== undefined) return assertWhole(best)
  const when = at === undefined ? '' : ` captured at or before ${at.toISOString()}`
  throw new NexusError('not-found', 'backup_not_found', `there is no backup of ${backup}${when}`, {
    hint: `the points there are: nexus-backup pitr points ${backup}`,
  })
}

/** Damaged directories whose manifest nobody can read: of their place in the order only the id tells. */
function unreadableOf({ manifests, problems }: Survey): { id: string; problem: string }[] {
  const readable = new Set(manifests.map(({ id }) => id))
  return problems
    .filter(({ id, status }) => status === 'damaged' && !readable.has(id) && isBackupId(id))
    .sort((a, b) => a.id.localeCompare(b.id))
}

/** The instant in an id, as text that sorts. */
function instantOf(id: string): string {
  return id.slice(0, id.indexOf('Z'))
}

function stampOf(at: Date): string {
  return instantOf(at.toISOString().replaceAll('-', '').replaceAll(':', ''))
}

function latestIn(manifests: readonly Manifest[], at: Date | undefined): Manifest | undefined {
  return at === undefined ? manifests.at(-1) : newest(manifests)
}

function isComplete({ incomplete }: Manifest): boolean {
  return incomplete !== true
}

function newest(manifests: readonly Manifest[]): Manifest | undefined {
  return [...manifests].sort((a, b) => Date.parse(a.captured_at) - Date.parse(b.captured_at)).at(-1)
}

function assertWhole(selected: Selected): Selected {
  const problem = selected.survey.broken.get(selected.manifest.id)
  if (problem === undefined) return selected
  const { id } = selected.manifest
  const told = selected.survey.problems.find(known => known.id === id && known.problem.startsWith('the drill of'))
  throw unusable(id, told?.problem ?? problem, newestSound(selected.survey))
}

function newestSound({ manifests, broken, unsealed }: Survey): string | undefined {
  return manifests.findLast(({ id }) => !broken.has(id) && !unsealed.has(id))?.id
}

/** What "the latest" means is never what somebody without a key has put on top. */
function unsealed({ manifest: { id }, survey }: Selected): NexusError {
  const instead = newestSound(survey)
  const use = instead === undefined ? '' : `; the newest encrypted backup is ${instead}; name it to use it`
  return new NexusError('damage', 'backup_unsealed', `${id} ${unsealedProblem}`, {
    hint: `somebody may have put it there: nexus-backup-recovery(7), suspected intruder${use}`,
  })
}

function unusable(id: string, problem: string, instead?: string): NexusError {
  const hint =
    instead === undefined
      ? "'nexus-backup list --all' shows what there is"
      : `the newest backup that can be restored is ${instead}; name it to use it`
  return new NexusError('damage', 'backup_damaged', `${id} cannot be restored: ${problem}`, { hint })
}

function ambiguous(prefix: string, ids: readonly string[]): NexusError {
  const shown = ids.slice(0, 10).join('\n  ')
  const more = ids.length > 10 ? `\n  and ${ids.length - 10} more` : ''
  return new NexusError('usage', 'backup_ambiguous', `'${prefix}' begins the ids of ${ids.length} backups`, {
    hint: `give one of:\n  ${shown}${more}`,
  })
}
