import { NexusError } from '../../errors.js'
import type { Check } from '../../repository/manifest.js'
import type { BackUpTask } from './back-up.js'

/** Whether a backup would stand on one whose content is known to fail its checks: whoever kept that one keeps this one too. */
export function standsOnUnsound({ plan, history }: Pick<BackUpTask, 'plan' | 'history'>): boolean {
  return plan.parent !== null && history.unsound.has(plan.parent.id)
}

/** Refuses to keep a backup of a source that fails its checks, unless the operator wants one. @throws NexusError `damage` */
export function assertSound({ source, request }: BackUpTask, what: string, checks: readonly Check[]): void {
  const [first] = checks.filter(({ status }) => status === 'failed')
  if (first === undefined || request.allowDamaged) return
  const detail = first.detail.split('\n').slice(0, 3).join('; ')
  throw new NexusError('damage', 'source_damaged', `${source.name}: ${what} fails ${first.name}: ${detail}`, {
    hint: `no backup was kept; to keep one of the damaged source: nexus-backup create ${source.name} --allow-damaged`,
  })
}
