import { NexusError } from '../../errors.js'
import type { VerifyResult } from '../../operations/results.js'
import { verify } from '../../operations/verify.js'
import type { Handler } from '../invocation.js'
import { counted } from '../output/format.js'
import { isWalResult, renderVerify } from '../output/render-verify.js'
import { switchOption } from '../parsed.js'

/** `verify [BACKUP|SOURCE]... [--drill]` */
export const runVerify: Handler = async invocation => {
  const settings = await invocation.settings()
  const result: VerifyResult = await verify(await invocation.context(), await invocation.journal(), {
    repositories: settings.repositories,
    sources: settings.sources,
    targets: [...invocation.operands],
    drill: switchOption(invocation.options, 'drill'),
  })
  const failures = verifyFailures(result)
  return {
    document: result,
    text: paint => renderVerify(result, paint),
    always: failures.length > 0,
    failures,
  }
}

/** Damage and what is not ours is 4, what could not be read 3, nothing to verify 5. */
export function verifyFailures({ results }: VerifyResult): NexusError[] {
  const damaged = results.filter(result => result.status === 'damaged')
  const unread = results.filter(result => result.status === 'unread')
  const untrusted = results.filter(result => result.status === 'untrusted')
  if (results.length === 0) {
    return [
      new NexusError('not-found', 'nothing_to_verify', 'there is no backup to verify', {
        hint: `'nexus-backup list' shows what there is`,
      }),
    ]
  }
  if (untrusted.length > 0) return [...damageOf(damaged), untrustedBackups(untrusted)]
  if (damaged.length > 0) return damageOf(damaged)
  if (unread.length === 0) return []
  return [
    new NexusError(
      'partial',
      'backup_unread',
      `${counted(unread.length, 'backup')} could not be read: ${unread.map(({ id }) => id).join(', ')}`,
    ),
  ]
}

/** What is not ours is none of the source's backups; its host may be let in. */
function untrustedBackups(untrusted: VerifyResult['results']): NexusError {
  const what = untrusted.length === 1 ? 'a backup that is not ours' : `${untrusted.length} backups that are not ours`
  const named = untrusted.map(({ source, id, findings }) => `${source}/${id} ${findings.at(-1)?.problem ?? ''}`)
  return new NexusError('damage', 'backup_untrusted', `${what}: ${named.join('; ')}`, {
    hint: 'if a host of yours made them, let it in: nexus-backup keys trust KEY; else somebody wrote into the repository: nexus-backup-recovery(7), suspected intruder',
  })
}

function damageOf(damaged: VerifyResult['results']): NexusError[] {
  if (damaged.length > 0) {
    const [logs, backups] = [damaged.filter(isWalResult), damaged.filter(result => !isWalResult(result))]
    if (backups.length === 0) return [damagedWal(logs)]
    const lost = new Set(backups.flatMap(result => [result.id, ...result.affects]))
    const wal = logs.length === 0 ? '' : `, and damage in archived WAL`
    const message = `damage in ${counted(backups.length, 'backup')}; ${counted(lost.size, 'backup')} cannot be restored${wal}`
    return [
      new NexusError('damage', 'backup_damaged', message, {
        hint: `take a new one now: nexus-backup create --type full; damaged: ${damaged.map(({ id }) => id).join(', ')}`,
      }),
    ]
  }
  return []
}

/** Backups restore all the same: what is cut is how far they can be rolled forward. */
function damagedWal(logs: VerifyResult['results']): NexusError {
  const cut = new Set(logs.flatMap(({ affects }) => affects))
  const which = logs.map(({ source, id }) => `${source} ${id}`).join(', ')
  const reach =
    cut.size === 0 ? 'no backup needs it' : `${counted(cut.size, 'backup')} cannot be rolled forward past it`
  const message = `damage in archived WAL: ${which}; ${reach}`
  return new NexusError('damage', 'wal_damaged', message, {
    hint: 'take a full backup now, a new window begins with it: nexus-backup create --type full',
  })
}
