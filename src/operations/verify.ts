import type { Context } from '../context.js'
import { NexusError } from '../errors.js'
import { recorded } from '../journal/recorded.js'
import type { Journal } from '../journal/types.js'
import { openRepository } from '../repository/open.js'
import { lockOptions, withLocks } from './locked.js'
import type { VerifyRequest } from './requests.js'
import type { VerifiedBackup, VerifyResult } from './results.js'
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
  const results = await checkRepositories(request.repositories)
  if (request.targets.length === 0) {
    for (const place of request.repositories) {
      results.push(...(await lostSources(context, await openRepository(place))))
    }
  }
  for (const plan of plans) results.push(...(await verifyOne(context, journal, request, plan)))
  if (results.length === 0) {
    throw new NexusError('not-found', 'nothing_to_verify', 'there is nothing to verify yet', {
      hint: 'take a first backup with: nexus-backup create',
    })
  }
  return { command: 'verify', results }
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
          const plan = await planAgain(context, found)
          const results = [...(await verifyRoom(context, plan, scratch)), ...(await verifyKnown(context, plan))]
          if (plan.hasWal) results.push(...(await verifyWal(context, room)))
          return request.drill ? await drill(context, plan, results, { sources: request.sources, scratch }) : results
        }),
      ),
    results => ({ result: outcomeOf(results), error: firstProblem(results) }),
  )
}

function outcomeOf(results: readonly VerifiedBackup[]): string {
  if (results.some(({ status }) => status === 'damaged')) return 'damage'
  return results.some(({ status }) => status === 'unread') ? 'partial' : 'done'
}

function firstProblem(results: readonly VerifiedBackup[]): string | null {
  const bad = results.find(({ status }) => status !== 'ok')
  const [finding] = bad?.findings ?? []
  return bad === undefined ? null : `${bad.id}: ${finding?.part ?? ''} ${finding?.problem ?? ''}`
}
