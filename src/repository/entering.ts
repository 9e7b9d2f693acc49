import { NexusError } from '../errors.js'
import { type ClaimDocument, claimLimit, describeClaim, formatClaim, parseClaim, sameClaimant } from './claim.js'
import { claimFile, isBackupId } from './layout.js'
import type { Storage } from './storage/storage.js'
import type { Claim } from './types.js'

/** Reads and checks SOURCE/source.json; undefined when nobody has claimed the name. Throws `damage`. */
export async function readClaim(storage: Storage, source: string): Promise<ClaimDocument | undefined> {
  const bytes = await readClaimBytes(storage, source)
  return bytes && parseClaim(bytes, source)
}

/**
 * Claims a source's name, or makes sure that it is the caller's. The caller holds the writer lock.
 * @returns true when the next backup must be a full because the claim is new to existing backups
 * @throws NexusError refused for somebody else's claim, damage for an unreadable one
 */
export async function enterSource(
  storage: Storage,
  source: string,
  claim: Claim,
  { adopt, now }: { adopt: boolean; now: Date },
): Promise<boolean> {
  const bytes = await readClaimBytes(storage, source)
  if (bytes === undefined) return claimUnclaimed(storage, source, claim, { adopt, now })
  const present = adopt ? orUndefined(() => parseClaim(bytes, source)) : parseClaim(bytes, source)
  if (present && sameClaimant(present.claim, claim)) return false
  if (present && !adopt) throw foreign(source, present.claim, claim)
  const former = present
    ? [...present.former, formerOf(present)]
    : [{ unreadable: bytes.toString('base64').slice(0, 4096) }]
  await storage.replace(`${source}/${claimFile}`, formatClaim(claim, now, former))
  return true
}

async function claimUnclaimed(
  storage: Storage,
  source: string,
  claim: Claim,
  { adopt, now }: { adopt: boolean; now: Date },
): Promise<boolean> {
  const hasBackups = (await storage.list(source)).some(entry => isBackupId(entry.name))
  // source.json is written before the first backup and never removed: without it we cannot know whose these are.
  if (hasBackups && !adopt) throw robbed(source)
  await storage.writeOnce(`${source}/${claimFile}`, formatClaim(claim, now, []))
  return hasBackups
}

async function readClaimBytes(storage: Storage, source: string): Promise<Buffer | undefined> {
  try {
    return await storage.readSmall(`${source}/${claimFile}`, claimLimit)
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'not-found') return undefined
    throw error
  }
}

function formerOf({ claim, claimed_at }: ClaimDocument): unknown {
  return { claim, claimed_at }
}

function orUndefined<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

function foreign(source: string, present: Claim, mine: Claim): NexusError {
  return new NexusError(
    'refused',
    'source_claimed',
    `the name ${source} belongs to ${describeClaim(present)} in this repository, not to ${describeClaim(mine)}`,
    {
      hint: 'choose another name with --name NAME; or, when this machine takes the place of that one, add --adopt: it starts with a full backup and deletes nothing',
    },
  )
}

function robbed(source: string): NexusError {
  return new NexusError(
    'damage',
    'claim_missing',
    `source ${source} has backups but no ${claimFile}, so nobody knows whose they are`,
    {
      hint: 'find out who removed it; then `nexus-backup create --adopt` writes a new one and starts with a full backup',
    },
  )
}
