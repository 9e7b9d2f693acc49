import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { describeClaim } from '../../repository/claim.js'
import type { Claim, SourceRoom } from '../../repository/types.js'
import type { PruneSource } from '../requests.js'

/**
 * A policy in a configuration is for this machine's own backups: in a shared bucket another machine may have taken the
 * same name (borg#1790). A cluster belongs to whoever its servers are; its host is only recorded.
 * @throws NexusError refused `source_claimed`
 */
export async function assertOwn({ host }: Context, room: SourceRoom, { kind }: PruneSource): Promise<void> {
  const claim = kind === undefined ? undefined : await readableClaim(room)
  if (claim === undefined) return
  if (claim.kind === kind && (kind === 'postgres' || claim.host === host)) return
  const { name, repository } = room
  const message = `the name ${name} belongs to ${describeClaim(claim)} in ${repository.location}, so the policy of host ${JSON.stringify(host)} is not for its backups`
  throw new NexusError('refused', 'source_claimed', message, {
    hint: `nothing of it was deleted; when this machine takes the place of that one: nexus-backup create ${name} --adopt; to prune for that machine, name it: nexus-backup prune ${name}`,
  })
}

/** A claim that cannot be read tells nothing; verify and create say so. */
async function readableClaim(room: SourceRoom): Promise<Claim | undefined> {
  try {
    return await room.claim()
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'damage') return undefined
    throw error
  }
}
