import type { Context } from '../context.js'
import { NexusError } from '../errors.js'
import { recorded } from '../journal/recorded.js'
import type { Journal } from '../journal/types.js'
import { openRepository } from '../repository/open.js'
import { readKnown } from './known-backups.js'
import { lockOptions, withLocks } from './locked.js'
import type { VerifyRequest } from './requests.js'
import type { Concern, VerifiedBackup, VerifyPreview, VerifyResult } from './results.js'
import { roomsOf } from './rooms.js'
import { withStateScratch } from './state-directory.js'
import { drill } from './verify/drill.js'
import { lostSources, verifyKnown } from './verify/verify-known.js'
import { planAgain, planVerify, type VerifyPlan } from './verify/verify-plan.js'
import { verifyRoom } from './verify/verify-room.js'
import { checkRepositories } from './verify/verify-root.js'
import { verifyWal } from './verify/verify-wal.js'

/**
 * Checks backups: every stored byte, every frame, every block, every chain, and of a whole source its archived WAL; with
 * `drill` a restore of each target into scratch space as well. What is found is returned, not thrown, and kept as proofs.
 *
 * @throws NexusError `not-found` when a target does not exist or there is nothing to verify
 */
export async function verify(context: Context, journal: Journal, request: VerifyRequest): Promise<VerifyResult> {
  const rooms = await roomsOf(request.repositories, undefined)
  const plans = await planVerify(context, rooms, request.targets)
  const { results, recovery } = await checkRepositories(context, request.repositories)
  if (request.targets.length === 0) {
    for (const place of request.repositories) {
      results.push(...(await lostSources(context, await openRepository(place))))
    }
  }
  for (const plan of plans) results.push(...(await verifyOne(context, journal, request, plan)))
  if (results.length === 0) throw nothingToVerify()
  const concerns = await concernsOf(context, request, plans)
  return { command: 'verify', results, recovery, ...(concerns.length === 0 ? {} : { concerns }) }
}

/**
 * Clusters whose archiving is asked after: those verified as a whole that are configured with `keep.pitr`. A server that
 * cannot be asked is a warning: verify also runs where there is none.
 */
async function concernsOf(
  context: Context,
  { sources }: VerifyRequest,
  plans: readonly VerifyPlan[],
): Promise<Concern[]> {
  const concerns: Concern[] = []
  for (const source of sources) {
    const isWhole = plans.some(({ room, hasWal }) => hasWal && room.name === source.name)
    if (!isWhole || source.kind !== 'postgres') continue
    if (source.keep.pitr !== undefined) {
      const { askArchiving } = await import('./pitr/archiving-concerns.js')
      concerns.push(...(await askArchiving(context, source)))
    }
    if (source.walCopies !== undefined) {
      const { copyLags, lagConcerns } = await import('./wal/copy-lag.js')
      concerns.push(...lagConcerns(source.name, await copyLags(context, source), context.now()))
    }
  }
  return concerns
}

/**
 * What `verify` would check, from the lists of the repositories alone.
 *
 * @throws NexusError `not-found` when a target does not exist or there is nothing to verify
 */
export async function previewVerify(context: Context, request: VerifyRequest): Promise<VerifyPreview> {
  const rooms = await roomsOf(request.repositories, undefined)
  const plans = await planVerify(context, rooms, request.targets)
  if (plans.length === 0) throw nothingToVerify()
  const plan = plans.map(({ room, check, hasWal, targets }) => ({
    source: room.name,
    repository: room.repository.location,
    backups: check.map(({ id }) => id),
    bytes_stored: check.flatMap(({ parts }) => parts).reduce((sum, { bytes }) => sum + bytes, 0),
    wal: hasWal,
    drill: request.drill ? targets.map(({ id }) => id) : [],
  }))
  return { command: 'verify', dry_run: true, results: [], plan }
}

function nothingToVerify(): NexusError {
  return new NexusError('not-found', 'nothing_to_verify', 'there is nothing to verify yet', {
    hint: 'take a first backup with: nexus-backup create',
  })
}

async function verifyOne(
  context: Context,
  journal: Journal,
  request: VerifyRequest,
  found: VerifyPlan,
): Promise<VerifiedBackup[]> {
  const { room } = found
  const operation = request.drill ? 'drill' : 'verify'
  const subject = { operation, source: room.name, repository: room.repository.location }
  const options = lockOptions(context, `${operation} ${room.name}`)
  return recorded(
    context,
    journal,
    subject,
    () =>
      withLocks(room, [['delete', 'shared']], options, () =>
        withStateScratch(context.stateDirectory, async scratch => {
          // Before the listing: what another run commits meanwhile is known only afterwards.
          const known = await readKnown(context, room.repository.id, room.name)
          const plan = await planAgain(context, found)
          const results = [...(await verifyRoom(context, plan, scratch)), ...(await verifyKnown(context, plan, known))]
          if (plan.hasWal) results.push(...(await verifyWal(context, room)))
          return request.drill ? await drill(context, plan, results, { sources: request.sources, scratch }) : results
        }),
      ),
    results => ({ result: outcomeOf(results), error: firstProblem(results) }),
  )
}

function outcomeOf(results: readonly VerifiedBackup[]): string {
  if (results.some(({ status }) => status === 'damaged' || status === 'source-damaged')) return 'damage'
  return results.every(({ status }) => status === 'ok') ? 'done' : 'partial'
}

function firstProblem(results: readonly VerifiedBackup[]): string | null {
  const bad = results.find(({ status }) => status === 'damaged') ?? results.find(({ status }) => status !== 'ok')
  const [finding] = bad?.findings ?? []
  return bad === undefined ? null : `${bad.id}: ${finding?.part ?? ''} ${finding?.problem ?? ''}`
}
