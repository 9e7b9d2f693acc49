import { NexusError } from '../../errors.js'
import type { Concern } from '../../operations/results.js'

/** Errors of what endangers a source although the work is done: partly done. */
export function concernFailures(concerns: readonly Concern[]): NexusError[] {
  return concerns.map(({ code, message, hint }) => new NexusError('partial', code, message, { hint }))
}
