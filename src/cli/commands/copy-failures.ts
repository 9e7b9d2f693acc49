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
