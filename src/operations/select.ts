import type { RepositorySettings } from '../config/settings.js'
import type { Context } from '../context.js'
import { NexusError } from '../errors.js'
import { brokenChains, bySequence, parentOf } from '../policy/chains.js'
import { isBackupId } from '../repository/layout.js'
import type { Manifest } from '../repository/manifest.js'
import type { SourceRoom } from '../repository/types.js'
import { ancestryOf, chainOf } from './chain-members.js'
import { insteadHint } from './instead.js'
import { roomsOf } from './rooms.js'
import { notOurs, trustHint } from './sealing/signatures.js'
import { shellQuoted } from './shell.js'
import { type History, type Survey, survey, surveyUsing } from './survey.js'
import type { ApartBackup } from './trust/judged.js'
import { warnOnce } from './trust/warn-once.js'

/** A backup found, with what is known of its source. */
export interface Selected {
  room: SourceRoom
  survey: Survey
  manifest: Manifest
  /** Whether the operator wants it although it, or what it stands on, is not ours. */
  untrusted?: boolean
}

/** What is asked for. */
export interface WantedBackup {
  /** An id, a prefix of one, or a source. */
  backup: string
  at?: Date | undefined
  /** Take a backup that is not ours, by its whole id. */
  untrusted?: boolean | undefined
}

/**
 * Finds a backup by its id, a unique prefix of one, or a source's name, meaning its latest; with `at`, the newest one
 * captured not after that instant. Only what is ours is ever the latest, and an incomplete one only where there is no
 * complete one.
 *
 * @throws NexusError `not-found`, `usage` for an ambiguous prefix (naming the candidates), `damage` when the backup
 *   meant is damaged, or so damaged that only its id shows it to be the one meant: an older one is never silently taken;
 *   `refused` for one that is not ours
 */
export async function selectBackup(
  context: Context,
  repositories: readonly RepositorySettings[],
  wanted: WantedBackup,
): Promise<Selected> {
  const untrusted = wanted.untrusted === true
  if (untrusted && !isBackupId(wanted.backup)) throw idMissing(wanted.backup)
  const rooms = await roomsOf(repositories, undefined)
  const named = rooms.filter(({ name }) => name === wanted.backup)
  if (named.length > 0) return latestOf(context, named, wanted)
  const matches: Selected[] = []
  const apart: { one: ApartBackup; selected: Selected }[] = []
  const damaged: { id: string; problem: string }[] = []
  for (const room of rooms) {
    const known = await survey(room, context, {
      cached: true,
      proofsOf: history => chainsAmong(history, ({ id }) => id.startsWith(wanted.backup)),
    })
    const found = known.manifests.filter(({ id }) => id.startsWith(wanted.backup))
    matches.push(...found.map(manifest => ({ room, survey: known, manifest, untrusted })))
    for (const one of known.apart.filter(({ member }) => member.id.startsWith(wanted.backup))) {
      apart.push({ one, selected: { room, survey: known, manifest: one.member, untrusted } })
    }
    const lost = known.problems.filter(({ id, status }) => status === 'damaged' && id.startsWith(wanted.backup))
    damaged.push(...lost.filter(({ id }) => !found.some(manifest => manifest.id === id)))
  }
  const found = [...matches, ...apart.map(({ selected }) => selected)].map(({ manifest }) => manifest.id)
  const ids = [...new Set([...found, ...damaged.map(({ id }) => id)])]
  if (ids.length > 1) throw ambiguous(wanted.backup, ids)
  const [match] = matches
  if (match !== undefined) return assertWhole(context, match)
  const [stranger] = apart
  if (stranger !== undefined && !untrusted) throw notOurs(stranger.one)
  if (stranger !== undefined) return assertWhole(context, stranger.selected)
  const [lost] = damaged
  if (lost !== undefined) throw unusable(lost.id, lost.problem)
  throw new NexusError('not-found', 'backup_not_found', `there is no backup or source '${wanted.backup}'`, {
    hint: "'nexus-backup list' shows what there is",
  })
}

/**
 * Looks at a selected backup again, now that a lock keeps it from being pruned, and has its chain thawed where a store keeps
 * it in an archive. It may have been selected by manifests that an earlier run has read: those of its chain are read now.
 *
 * @throws NexusError `not-found` when it was pruned meanwhile, `damage`, `refused` when it is not ours any more
 */
export async function reselect(context: Context, { room, manifest: { id }, untrusted }: Selected): Promise<Selected> {
  const known = await surveyUsing(room, context, found => ancestryOf(id, withApart(found).manifests), {
    proofsOf: history => chainsAmong(history, member => member.id === id),
    present: [id],
  })
  const stranger = known.apart.find(({ member }) => member.id === id)
  if (stranger !== undefined && untrusted !== true) throw notOurs(stranger)
  const manifest = known.manifests.find(member => member.id === id) ?? stranger?.member
  if (manifest !== undefined) {
    const selected = await assertWhole(context, { room, survey: known, manifest, untrusted: untrusted === true })
    const members = new Map(selected.survey.manifests.map(member => [member.id, member]))
    await room.thaw(chainOf(manifest, members).map(member => member.id))
    return selected
  }
  const lost = known.problems.find(problem => problem.id === id)
  if (lost !== undefined) throw unusable(id, lost.problem)
  throw new NexusError('not-found', 'backup_not_found', `${id} was pruned meanwhile`, {
    hint: "choose another: 'nexus-backup list' shows what there is",
  })
}

/** Something that may be the one meant, and cannot be taken. */
interface Lost {
  id: string
  problem: string
  error?: NexusError
}

async function latestOf(context: Context, rooms: readonly SourceRoom[], wanted: WantedBackup): Promise<Selected> {
  const { backup, at } = wanted
  const candidates: Selected[] = []
  const unreadable: Lost[] = []
  const apart: ApartBackup[] = []
  for (const room of rooms) {
    const known = await survey(room, context, {
      cached: true,
      proofsOf: history => {
        const latest = latestAmong(history.ours, at)
        return chainsAmong(history, member => member === latest)
      },
    })
    unreadable.push(...unreadableOf(known), ...forgedOf(known), ...goneOf(known))
    apart.push(...known.apart)
    const manifest = latestAmong(known.manifests, at)
    if (manifest !== undefined) candidates.push({ room, survey: known, manifest })
  }
  const [best] = candidates.sort(
    (a, b) =>
      Number(isComplete(b.manifest)) - Number(isComplete(a.manifest)) ||
      b.manifest.captured_at.localeCompare(a.manifest.captured_at),
  )
  const lost = unreadable
    .sort((a, b) => a.id.localeCompare(b.id))
    .findLast(({ id }) => {
      return (
        (best === undefined || instantOf(id) > instantOf(best.manifest.id)) &&
        (at === undefined || instantOf(id) <= stampOf(at))
      )
    })
  if (lost !== undefined) throw insteadOf(lost, best && (await insteadHint(context, best.room)))
  if (apart.length > 0) warnOnce(context, `${backup}: ${passedOver(apart)}`)
  if (best !== undefined) return assertWhole(context, best)
  if (apart.length > 0) throw noneOurs(backup, apart)
  const when = at === undefined ? '' : ` captured at or before ${at.toISOString()}`
  throw new NexusError('not-found', 'backup_not_found', `there is no backup of ${backup}${when}`, {
    hint: `the points there are: nexus-backup pitr points ${backup}`,
  })
}

/** What is said of backups that nobody of us has made. */
export function passedOver(apart: readonly ApartBackup[]): string {
  const shown = apart.slice(-5).map(({ member: { id }, problem }) => `${id} ${problem}`)
  const more = apart.length > shown.length ? `, and ${apart.length - shown.length} more` : ''
  const what = apart.length === 1 ? 'a backup that is not ours is' : `${apart.length} backups that are not ours are`
  return `${what} passed over: ${shown.join('; ')}${more}`
}

/** The refusal where nothing of a source is ours. */
export function noneOurs(backup: string, apart: readonly ApartBackup[]): NexusError {
  const [example] = apart.slice(-1)
  const hint =
    example === undefined
      ? ''
      : `; to restore one all the same: nexus-backup restore ${example.member.id} --untrusted --to PATH`
  const stranger = apart.findLast(({ trust }) => trust === 'stranger')
  const trust = stranger === undefined ? '' : `${trustHint(stranger)}; `
  return new NexusError('refused', 'backup_untrusted', `no backup of ${backup} is ours: ${passedOver(apart)}`, {
    hint: `${trust}see them with nexus-backup list ${shellQuoted(backup)}${hint}`,
  })
}

/** Backups that are not what was signed: one of them may have been the latest. */
function forgedOf({ apart }: Survey): Lost[] {
  return apart
    .filter(({ trust }) => trust === 'badly-signed')
    .map(one => ({ id: one.member.id, problem: one.problem, error: notOurs(one) }))
}

function goneOf({ gone }: Survey): Lost[] {
  const problem = 'it is gone, and no prune removes the newest: an older state was put back, or somebody removed it'
  return gone === null ? [] : [{ id: gone.id, problem }]
}

function insteadOf({ id, problem, error }: Lost, instead: string | undefined): NexusError {
  if (error === undefined) return unusable(id, problem, instead)
  if (instead === undefined) return error
  return new NexusError(error.kind, error.code, error.message, {
    hint: `${instead}; ${error.hint ?? ''}`,
  })
}

function idMissing(given: string): NexusError {
  return new NexusError(
    'usage',
    'untrusted_without_id',
    `--untrusted goes with the whole id of a backup, not '${given}'`,
    {
      hint: "'nexus-backup list' shows the ids; a source's latest is always one that is ours",
    },
  )
}

/** Damaged directories whose manifest nobody can read: of their place in the order only the id tells. */
function unreadableOf({ manifests, problems }: Survey): Lost[] {
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

/** The latest complete backup, else the latest. @param at captured not after it */
function latestAmong(manifests: readonly Manifest[], at: Date | undefined): Manifest | undefined {
  const early = manifests.filter(({ captured_at }) => at === undefined || Date.parse(captured_at) <= at.getTime())
  return latestIn(early.filter(isComplete), at) ?? latestIn(early, at)
}

/** Backups of a source and what they stand on, whoever made them: a restore needs the proofs of no others. */
function chainsAmong({ ours, apart }: History, isWanted: (manifest: Manifest) => boolean): Manifest[] {
  const all = [...ours, ...apart.map(({ member }) => member)]
  const byId = new Map(all.map(member => [member.id, member]))
  const chains = new Set<Manifest>()
  for (const wanted of all.filter(isWanted)) {
    let member: Manifest | undefined = wanted
    while (member !== undefined && !chains.has(member)) {
      chains.add(member)
      member = parentOf(member, byId)
    }
  }
  return [...chains]
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

async function assertWhole(context: Context, selected: Selected): Promise<Selected> {
  const known = selected.untrusted === true ? withApart(selected.survey) : selected.survey
  const problem = known.broken.get(selected.manifest.id)
  if (problem === undefined) return { ...selected, survey: known }
  const { id } = selected.manifest
  const told = selected.survey.problems.find(other => other.id === id && other.problem.startsWith('the drill of'))
  throw unusable(id, told?.problem ?? problem, await insteadHint(context, selected.room))
}

/** For who wants a backup that is not ours: its chain is found among all that can be read. */
function withApart(known: Survey): Survey {
  const manifests = [...known.manifests, ...known.apart.map(({ member }) => member)].sort(bySequence)
  return { ...known, manifests, broken: brokenChains(manifests, known.damaged) }
}

function unusable(id: string, problem: string, instead?: string): NexusError {
  const hint = instead ?? "'nexus-backup list --all' shows what there is"
  return new NexusError('damage', 'backup_damaged', `${id} cannot be restored: ${problem}`, { hint })
}

function ambiguous(prefix: string, ids: readonly string[]): NexusError {
  const shown = ids.slice(0, 10).join('\n  ')
  const more = ids.length > 10 ? `\n  and ${ids.length - 10} more` : ''
  return new NexusError('usage', 'backup_ambiguous', `'${prefix}' begins the ids of ${ids.length} backups`, {
    hint: `give one of:\n  ${shown}${more}`,
  })
}
