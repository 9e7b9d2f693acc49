import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { contradicting, describeClaim } from '../../repository/claim.js'
import type { Manifest } from '../../repository/manifest.js'
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

/**
 * The same by what the backups say that are signed: `source.json` is not, and a policy of another machine could be led to them.
 * @param ours backups that count, oldest first
 * @throws NexusError refused `source_claimed`
 */
export function assertMadeHere(
  { host }: Context,
  { name, repository }: SourceRoom,
  { kind }: PruneSource,
  ours: readonly Manifest[],
): void {
  // A cluster belongs to whoever its servers are, which the claim alone says.
  if (kind === undefined || (kind === 'postgres' && ours.at(-1)?.kind === kind)) return
  const newest = contradicting({ kind, host, system_identifier: null }, ours)
  if (newest === undefined) return
  const message = `the newest backup of ${name} in ${repository.location} that is ours, ${newest.id}, is of kind ${newest.kind} and of host ${JSON.stringify(newest.host)}, so the policy of host ${JSON.stringify(host)} is not for it`
  throw new NexusError('refused', 'source_claimed', message, {
    hint: `nothing of it was deleted; when this machine takes the place of that one, make a backup first: nexus-backup create ${name} --adopt (where nexus-backup list ${name} shows it as not ours, this machine must be let in: nexus-backup-keys(1)); to prune for that machine, name it: nexus-backup prune ${name}`,
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
