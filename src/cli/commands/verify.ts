import { NexusError } from '../../errors.js'
import type { VerifyRequest } from '../../operations/requests.js'
import type { VerifiedRecovery, VerifyResult } from '../../operations/results.js'
import { shellQuoted } from '../../operations/shell.js'
import { previewVerify, verify } from '../../operations/verify.js'
import type { Handler } from '../invocation.js'
import { counted, firstFew } from '../output/format.js'
import { isWalResult, renderVerify, renderVerifyPlan } from '../output/render-verify.js'
import { switchOption } from '../parsed.js'
import { concernFailures } from './concern-failures.js'

/** `verify [BACKUP|SOURCE]... [--drill]` */
export const runVerify: Handler = async invocation => {
  const settings = await invocation.settings()
  const request: VerifyRequest = {
    repositories: settings.repositories,
    sources: settings.sources,
    targets: [...invocation.operands],
    drill: switchOption(invocation.options, 'drill'),
  }
  if (switchOption(invocation.options, 'dry-run')) {
    const preview = await previewVerify(await invocation.context(), request)
    return { document: preview, text: () => renderVerifyPlan(preview), always: true, failures: [] }
  }
  const result = await verify(await invocation.context(), await invocation.journal(), request)
  const failures = [...concernFailures(result.concerns ?? []), ...verifyFailures(result)]
  return {
    document: result,
    text: paint => renderVerify(result, paint),
    always: failures.length > 0,
    failures,
  }
}

/** Damage, what is not ours and captured content that is wrong are 4; what could not be read or drilled 3; nothing to verify 5. */
export function verifyFailures({ results, recovery = [] }: VerifyResult): NexusError[] {
  const roots = results.filter(({ source, status }) => source === '' && status !== 'damaged')
  const backups = results.filter(result => !roots.includes(result))
  const damaged = backups.filter(result => result.status === 'damaged')
  const unread = backups.filter(result => result.status === 'unread')
  const untrusted = backups.filter(result => result.status === 'untrusted')
  if (results.length === 0) {
    return [
      new NexusError('not-found', 'nothing_to_verify', 'there is no backup to verify', {
        hint: `'nexus-backup list' shows what there is`,
      }),
    ]
  }
  const foreign = roots.filter(({ status }) => status === 'untrusted')
  if (foreign.length > 0 || untrusted.length > 0) {
    const notOurs = untrusted.length === 0 ? [] : [untrustedBackups(untrusted)]
    return [...damageOf(damaged), ...notOurs, ...foreignFiles(foreign, recovery)]
  }
  if (damaged.length > 0) return damageOf(damaged)
  const wrong = results.filter(result => result.status === 'source-damaged')
  if (wrong.length > 0) return [wrongContent(wrong)]
  const undrilled = results.filter(result => result.status === 'drill-failed')
  const unreadFailures = unread.map(({ id }) => id)
  return [
    ...(unread.length === 0
      ? []
      : [
          new NexusError(
            'partial',
            'backup_unread',
            `${counted(unread.length, 'backup')} could not be read: ${firstFew(unreadFailures)}`,
          ),
        ]),
    ...(undrilled.length === 0 ? [] : [failedDrills(undrilled)]),
    ...unjudgedFiles(roots, recovery),
  ]
}

/** What somebody else has put into a repository's root to be run with its key. */
function foreignFiles(foreign: VerifyResult['results'], recovery: readonly VerifiedRecovery[]): NexusError[] {
  if (foreign.length === 0) return []
  const found = foreign.flatMap(({ findings }) => findings.map(({ part, problem }) => `${part} ${problem}`))
  const places = recovery.filter(({ status }) => status === 'untrusted').map(({ repository }) => repository)
  const commands = places.map(place => `nexus-backup keys recovery --repo ${shellQuoted(place)}`)
  return [
    new NexusError('damage', 'recovery_untrusted', `${places.join(', ')}: ${found.join('; ')}`, {
      hint: `put the genuine ones in their place: ${commands.join('; ')}; and find out who wrote there: nexus-backup-recovery(7), suspected intruder`,
    }),
  ]
}

/** Files of a later version, as they say. */
function unjudgedFiles(roots: VerifyResult['results'], recovery: readonly VerifiedRecovery[]): NexusError[] {
  if (roots.length === 0) return []
  const found = roots.flatMap(({ findings }) => findings.map(({ part, problem }) => `${part} ${problem}`))
  const later = recovery.filter(({ status }) => status === 'newer')
  const places = later.map(({ repository }) => repository).join(', ')
  const digests = later.map(({ sha256 }) => sha256).join(', ')
  return [
    new NexusError('partial', 'recovery_newer', `${places}: ${found.join('; ')}`, {
      hint: `verify with the nexus-backup that wrote it, or compare its SHA-256 with the one that is kept with the key: ${digests}`,
    }),
  ]
}

/** What is not ours is none of the source's backups; its host may be let in. */
function untrustedBackups(untrusted: VerifyResult['results']): NexusError {
  const what = untrusted.length === 1 ? 'a backup that is not ours' : `${untrusted.length} backups that are not ours`
  const named = untrusted.map(({ source, id, findings }) => `${source}/${id} ${findings.at(-1)?.problem ?? ''}`)
  return new NexusError('damage', 'backup_untrusted', `${what}: ${firstFew(named)}`, {
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
        hint: `take a new one now: nexus-backup create --type full; damaged: ${firstFew(damaged.filter(({ cause }) => cause === undefined).map(({ id }) => id))}`,
      }),
    ]
  }
  return []
}

/** Nothing stored is damaged: a new backup of the same source would hold the same. */
function wrongContent(wrong: VerifyResult['results']): NexusError {
  const message = `${counted(wrong.length, 'backup')} as captured, and what was captured is wrong: ${firstOf(wrong)}`
  return new NexusError('damage', 'source_damaged', message, {
    hint: `look at the source itself; the backup can be restored beside it: nexus-backup restore ${wrong[0]?.id} --to PATH`,
  })
}

/** The backup may be as good as any: what failed is this machine's attempt. */
function failedDrills(undrilled: VerifyResult['results']): NexusError {
  const message = `${counted(undrilled.length, 'drill')} could not be carried out: ${firstOf(undrilled)}`
  return new NexusError('partial', 'drill_failed', message, {
    hint: `what is stored is whole; put right what is named, then: nexus-backup verify ${undrilled[0]?.id} --drill`,
  })
}

function firstOf(results: VerifyResult['results']): string {
  const [first] = results
  const [finding] = first?.findings ?? []
  return `${first?.id}: ${finding?.part}: ${finding?.problem}`
}

/** Backups restore all the same: what is cut is how far they can be rolled forward. */
function damagedWal(logs: VerifyResult['results']): NexusError {
  const cut = new Set(logs.flatMap(({ affects }) => affects))
  const which = firstFew(logs.map(({ source, id }) => `${source} ${id}`))
  const reach =
    cut.size === 0 ? 'no backup needs it' : `${counted(cut.size, 'backup')} cannot be rolled forward past it`
  const message = `damage in archived WAL: ${which}; ${reach}`
  return new NexusError('damage', 'wal_damaged', message, {
    hint: 'take a full backup now, a new window begins with it: nexus-backup create --type full',
  })
}
