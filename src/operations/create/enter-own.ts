import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { contradicting, describeClaim, sameClaimant } from '../../repository/claim.js'
import { claimFile, quoted } from '../../repository/layout.js'
import type { Manifest } from '../../repository/manifest.js'
import type { Sealing } from '../../repository/sealed/sealed-backup.js'
import type { Claim, SourceRoom } from '../../repository/types.js'
import { shellQuoted } from '../shell.js'
import type { Survey } from '../survey.js'
import type { SourceIdentity } from './create-plan.js'
import type { ProbedSource } from './source-work.js'

/** What tells whose the backups of a source are. */
export interface Evidence {
  history: Pick<Survey, 'manifests' | 'apart'>
  /** What this host signs with; null where nothing is encrypted. */
  sealing: Sealing | null
}

/**
 * Claims a source's name, or makes sure that it is the caller's. `source.json` is not signed: where it and the newest signed
 * backup tell of two claimants, nothing is written on the word of one of them.
 * @returns whether the next backup must be a full because what is there is not the caller's
 * @throws NexusError as `SourceRoom.enter`; damage `claim_forged` where the backups are the caller's and the claim is not,
 *   refused `source_claimed` where it is the other way round, or where only the path differs
 */
export async function enterOwn(
  { now }: Context,
  room: SourceRoom,
  { claim: mine, identity }: Pick<ProbedSource, 'claim' | 'identity'>,
  { adopt, ...evidence }: Evidence & { adopt: boolean },
): Promise<boolean> {
  const signed = signedBefore(evidence)
  const isOthers = contradicting(mine, signed) !== undefined
  // A claim that agrees is as `room.enter` would leave it.
  if (!adopt && (await isAgreed(room, { mine, identity }, signed))) return false
  const adopted = await room.enter(mine, { adopt, now: now() })
  return adopted || (adopt && isOthers)
}

/** Backups that count, and those that this host has signed itself before anybody vouched for it; oldest first. */
function signedBefore({ history: { manifests, apart }, sealing }: Evidence): Manifest[] {
  const own = apart.filter(
    ({ member, trust }) => trust === 'stranger' && member.encryption?.signer === sealing?.signer.id,
  )
  return [...manifests, ...own.map(({ member }) => member)].sort((a, b) => a.sequence - b.sequence)
}

/** Whether the claim that is there is the caller's, and no signed backup says otherwise. @throws NexusError as `enterOwn` */
async function isAgreed(
  room: SourceRoom,
  { mine, identity }: { mine: Claim; identity: SourceIdentity },
  signed: readonly Manifest[],
): Promise<boolean> {
  const present = await room.claim()
  if (present === undefined) return false
  const isMine = sameClaimant(present, mine)
  const newest = signed.findLast(({ encryption }) => encryption !== undefined)
  if (newest === undefined) return isMine
  const areMine = contradicting(mine, signed) === undefined
  if (isMine) {
    if (!areMine) throw ofAnother(room, newest, mine)
    return true
  }
  if (areMine && contradicting(present, signed) !== undefined) throw changed(room, newest, { present, mine })
  // The path stands in no backup; a database is known by its file, which may have been moved.
  if (areMine && isOf(newest, identity)) throw moved(room, newest, { present, mine })
  return false
}

function isOf({ kind, facts }: Manifest, identity: SourceIdentity): boolean {
  if (identity.kind !== 'sqlite' || kind !== 'sqlite') return false
  return facts.device === identity.device && facts.inode === identity.inode
}

function changed(room: SourceRoom, newest: Manifest, { present, mine }: { present: Claim; mine: Claim }): NexusError {
  const says = `${claimFile} of source ${room.name} says that the name belongs to ${describeClaim(present)}`
  const message = `${says}, and ${newest.id}, the newest backup that is ours, is of ${describeClaim(mine)}: it was changed`
  return new NexusError('damage', 'claim_forged', message, {
    hint: `find out who changed it; then nexus-backup create ${shellQuoted(room.name)} --adopt writes it anew and starts with a full backup`,
  })
}

function moved(room: SourceRoom, newest: Manifest, { present, mine }: { present: Claim; mine: Claim }): NexusError {
  const says = `${claimFile} of source ${room.name} says that the name belongs to ${describeClaim(present)}`
  const message = `${says}, not to ${describeClaim(mine)}, and ${newest.id}, the newest backup that is ours, is of this very file: it was moved, or ${claimFile} was changed`
  return new NexusError('refused', 'source_claimed', message, {
    hint: `when it was moved: nexus-backup create ${shellQuoted(room.name)} --adopt, which starts with a full backup and deletes nothing; else find out who changed ${claimFile} first`,
  })
}

function ofAnother(room: SourceRoom, { id, kind, host }: Manifest, mine: Claim): NexusError {
  const says = `${claimFile} of source ${room.name} says that the name belongs to ${describeClaim(mine)}`
  const message = `${says}, and ${id}, the newest backup that is ours, is of kind ${kind} and of host ${quoted(host)}: it was changed, or create --adopt has made no backup yet`
  return new NexusError('refused', 'source_claimed', message, {
    hint: `when this machine takes the place of that one: nexus-backup create ${shellQuoted(room.name)} --adopt, which starts with a full backup and deletes nothing; else find out who changed it, and choose another name with --name NAME`,
  })
}
