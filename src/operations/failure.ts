import { errnoOf, messageOf, NexusError } from '../errors.js'
import type { Failure } from './results.js'

/** One source's error as the JSON contract has it. */
export function failureOf(source: string, error: unknown): Failure {
  if (error instanceof NexusError) {
    return { source, kind: error.kind, code: error.code, message: error.message, hint: error.hint ?? null }
  }
  // A system error says enough by itself; anything else is a defect and keeps its stack for the report.
  const message =
    errnoOf(error) === undefined && error instanceof Error ? (error.stack ?? error.message) : messageOf(error)
  return { source, kind: 'failed', code: errnoOf(error)?.toLowerCase() ?? 'unexpected', message, hint: null }
}
