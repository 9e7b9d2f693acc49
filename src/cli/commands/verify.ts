import { NexusError } from '../../errors.js'
import type { VerifyResult } from '../../operations/results.js'
import { verify } from '../../operations/verify.js'
import type { Handler } from '../invocation.js'
import { counted } from '../output/format.js'
import { renderVerify } from '../output/render-verify.js'
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

/** Damage is 4, what could not be read 3, nothing to verify 5. */
export function verifyFailures({ results }: VerifyResult): NexusError[] {
  const damaged = results.filter(result => result.status === 'damaged')
  const unread = results.filter(result => result.status === 'unread')
  if (results.length === 0) {
    return [
      new NexusError('not-found', 'nothing_to_verify', 'there is no backup to verify', {
        hint: `'nexus-backup list' shows what there is`,
      }),
    ]
  }
  if (damaged.length > 0) {
    const lost = new Set(damaged.flatMap(result => [result.id, ...result.affects]))
    const message = `damage in ${counted(damaged.length, 'backup')}; ${counted(lost.size, 'backup')} cannot be restored`
    return [
      new NexusError('damage', 'backup_damaged', message, {
        hint: `take a new one now: nexus-backup create --type full; damaged: ${damaged.map(({ id }) => id).join(', ')}`,
      }),
    ]
  }
  if (unread.length === 0) return []
  return [
    new NexusError(
      'partial',
      'backup_unread',
      `${counted(unread.length, 'backup')} could not be read: ${unread.map(({ id }) => id).join(', ')}`,
    ),
  ]
}
