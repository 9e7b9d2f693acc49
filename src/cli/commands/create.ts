import { type ErrorKind, NexusError } from '../../errors.js'
import { create } from '../../operations/create.js'
import type { CheckLevel, CreateRequest } from '../../operations/requests.js'
import type { CreateResult } from '../../operations/results.js'
import { shellQuoted } from '../../operations/shell.js'
import { keepUntilOf } from '../instants.js'
import type { Handler } from '../invocation.js'
import { counted } from '../output/format.js'
import { renderCreate } from '../output/render-create.js'
import { type OptionValues, switchOption, textOption } from '../parsed.js'
import { chosenSources } from '../sources.js'
import { concernFailures } from './concern-failures.js'
import { copyFailures, untrustedCopies } from './copy-failures.js'
import { damagedBackups } from './damaged-backups.js'

/** `create [SOURCE...]` */
export const runCreate: Handler = async invocation => {
  const { options } = invocation
  if (textOption(options, 'owner') !== undefined && !switchOption(options, 'init')) {
    throw new NexusError('usage', 'owner_without_init', '--owner goes with --init', {
      hint: 'an existing repository keeps the owner it has',
    })
  }
  const settings = await invocation.settings()
  const sources = chosenSources(settings, invocation.operands)
  const request = requestOf(options, sources, settings.timezone)
  if (request.owner !== undefined && !request.dryRun) {
    const { shareStateDirectory } = await import('../../operations/state-owner.js')
    await shareStateDirectory(await invocation.context(), request.owner)
  }
  const result = await create(await invocation.context(), await invocation.journal(), request)
  return {
    document: result,
    text: paint => renderCreate(result, { dryRun: request.dryRun, paint }),
    always: request.dryRun,
    failures: [...createFailures(result, sources.length), ...missedCopies(result)],
  }
}

function requestOf(options: OptionValues, sources: CreateRequest['sources'], timezone: string): CreateRequest {
  return {
    sources,
    type: (textOption(options, 'type') ?? 'auto') as CreateRequest['type'],
    check: textOption(options, 'check') as CheckLevel | undefined,
    verify: switchOption(options, 'verify'),
    allowDamaged: switchOption(options, 'allow-damaged'),
    allowEmptied: switchOption(options, 'allow-emptied'),
    allowOtherNames: switchOption(options, 'allow-other-names'),
    init: switchOption(options, 'init'),
    owner: textOption(options, 'owner'),
    adopt: switchOption(options, 'adopt'),
    label: textOption(options, 'label') ?? null,
    keepUntil: keepUntilOf(textOption(options, 'keep-until'), timezone),
    dryRun: switchOption(options, 'dry-run'),
  }
}

/**
 * Errors of a create, the deciding one last. Some sources done, some not: 3. None done: the status of the kind all
 * failures share, else 1. A backup in which something is missing that vanished while it was read: 3. One made from a
 * damaged source ends with 4 in any case: damage is never silent.
 */
export function createFailures(result: CreateResult, asked: number): NexusError[] {
  const failures = result.failures.map(failure => {
    const message = asked > 1 ? `${failure.source}: ${failure.message}` : failure.message
    return new NexusError(failure.kind, failure.code, message, failure.hint === null ? {} : { hint: failure.hint })
  })
  const damaged = result.backups.filter(backup => backup.damaged_source)
  if (failures.length > 0 && asked > 1) {
    const kinds = new Set(failures.map(failure => failure.kind))
    const [only] = kinds
    const kind: ErrorKind =
      result.backups.length > 0 ? 'partial' : kinds.size === 1 && only !== undefined ? only : 'failed'
    const message = `${counted(failures.length, 'source')} of ${asked} could not be backed up`
    const names = result.failures.map(({ source }) => source).join(' ')
    failures.push(
      new NexusError(kind, 'sources_failed', message, {
        hint: `each says why; once that is mended, only these: nexus-backup create ${names}`,
      }),
    )
  }
  failures.push(...concernFailures(result.backups.flatMap(({ concerns = [] }) => concerns)))
  const incomplete = result.backups.filter(backup => backup.incomplete)
  if (incomplete.length > 0) failures.push(incompleteBackups(incomplete.map(backup => backup.source)))
  failures.push(...unvouchedHosts(result.backups))
  if (damaged.length > 0) failures.push(damagedSources(damaged.map(backup => backup.source)))
  return failures
}

/** The backup is made, and is caught up with by the next run: partly done, whatever kept it from being copied. */
function missedCopies({ copies, copy_failures: failures }: CreateResult): NexusError[] {
  const problems = copies.flatMap(report => report.problems)
  const missed = copyFailures(failures, failures.length + 1)
  return [...missed, ...untrustedCopies(copies), ...damagedBackups(problems)]
}

function incompleteBackups(names: readonly string[]): NexusError {
  const message = `something vanished or changed while it was read: ${names.join(', ')}`
  return new NexusError('partial', 'source_changed', message, {
    hint: 'the warnings name it; the backup is kept, and the next one takes what is there then',
  })
}

/** One error for each repository in which nobody has vouched for this host. */
function unvouchedHosts(backups: CreateResult['backups']): NexusError[] {
  const keys = new Map(
    backups.flatMap(({ repository, unvouched }) => (unvouched === undefined ? [] : [[repository, unvouched]])),
  )
  return [...keys].map(([repository, key]) => {
    const sources = backups.filter(backup => backup.repository === repository && backup.unvouched !== undefined)
    const names = sources.map(({ source }) => source).join(', ')
    const message = `nobody has vouched for the key ${key} with which this host signs in ${repository}: the backups of ${names} count for nothing until somebody does`
    if (sources.some(({ distrusted }) => distrusted)) return distrustedHost(repository, key, names)
    return new NexusError('partial', 'host_untrusted', message, {
      hint: `with a key that opens it, once: nexus-backup keys trust ${key} --repo ${shellQuoted(repository)} --key-file FILE`,
    })
  })
}

function distrustedHost(repository: string, key: string, names: string): NexusError {
  const message = `the key ${key} with which this host signs is distrusted in ${repository}: the backups of ${names} count for nothing`
  return new NexusError('partial', 'host_distrusted', message, {
    hint: 'move keys/signing-key out of the state directory: the next create makes a new one and names the command that vouches for it',
  })
}

function damagedSources(names: readonly string[]): NexusError {
  const message = `backed up although damaged: ${names.join(', ')}`
  return new NexusError('damage', 'source_damaged', message, {
    hint: `the warnings say what is wrong; 'nexus-backup list' shows the backups from before the damage`,
  })
}
