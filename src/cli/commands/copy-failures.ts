import { NexusError } from '../../errors.js'
import type { CopyResult } from '../../operations/results.js'

/** Errors of copying, the deciding one last: partly done as soon as there is anything beside it. */
export function copyFailures(failures: CopyResult['failures'], asked: number): NexusError[] {
  const errors = failures.map(({ source, to, kind, code, message, hint }) => {
    return new NexusError(kind, code, `${source} was not copied to ${to}: ${message}`, hint === null ? {} : { hint })
  })
  const kinds = new Set(failures.map(({ kind }) => kind))
  if (failures.length === 0 || (failures.length === asked && kinds.size === 1)) return errors
  const message = `${failures.length === 1 ? 'a copy' : `${failures.length} copies`} could not be made`
  return [
    ...errors,
    new NexusError('partial', 'copies_failed', message, {
      hint: 'the backups themselves are kept; once the cause is mended: nexus-backup copy',
    }),
  ]
}

/** What was left because it is not ours, and copies that count for nothing where they are: partly done. */
export function untrustedCopies(copies: CopyResult['copies']): NexusError[] {
  const left = copies.flatMap(({ problems }) => problems.filter(({ status }) => status === 'untrusted'))
  const errors: NexusError[] = []
  if (left.length > 0) {
    const named = left.map(({ source, id, problem }) => `${source}/${id} (${problem})`).join(', ')
    const what = left.length === 1 ? 'a backup that is not ours was' : `${left.length} backups that are not ours were`
    errors.push(
      new NexusError('partial', 'backup_untrusted', `${what} left: ${named}`, {
        hint: 'if a host of yours made them, let it in: nexus-backup keys trust KEY, and run it again',
      }),
    )
  }
  for (const { source, to, unattested } of copies) {
    if (unattested === undefined) continue
    const message = `the copies of ${source} in ${to} count for nothing there yet: ${unattested.problem}`
    errors.push(new NexusError('partial', 'copies_unattested', message, { hint: unattested.hint }))
  }
  return errors
}
