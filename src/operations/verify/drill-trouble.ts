import { NexusError } from '../../errors.js'

/**
 * Kinds of damage that are not about the backup's stored bytes: what a manifest tells is not understood here, a server on
 * the copy ended, or small files beside the backup are damaged.
 */
const others: ReadonlySet<string> = new Set([
  'facts_damaged',
  'server_died',
  'source_damaged',
  'proof_damaged',
  'keys_damaged',
])

/** Whether an error in a drill says that stored bytes differ from their digests, or are gone. */
export function isDamage(error: unknown): boolean {
  return error instanceof NexusError && error.kind === 'damage' && !others.has(error.code)
}
