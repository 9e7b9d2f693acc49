import { createHash } from 'node:crypto'
import * as v from 'valibot'
import { messageOf, NexusError } from '../../errors.js'
import { canonicalJson, isPrettyJson, parseOutsideJson, prettyJson } from '../json.js'

/** The bytes of a document below `keys`: it carries a SHA-256 over the canonical JSON of everything else in it. */
export function formatKeyDocument(document: object): Buffer {
  return prettyJson({ ...document, sha256: digestOf(document) })
}

/**
 * Reads one that `formatKeyDocument` wrote.
 * @param name its path in the repository, for messages
 * @throws NexusError damage `keys_damaged`
 */
export function parseKeyDocument<T extends v.GenericSchema>(
  schema: T,
  bytes: Uint8Array,
  name: string,
): v.InferOutput<T> {
  const document = parsed(bytes, name)
  if (typeof document !== 'object' || document === null) throw keysDamaged(name, 'it is not what we write')
  const { sha256, ...rest } = document as Record<string, unknown>
  if (digestOf(rest) !== sha256 || !isPrettyJson(bytes, document)) {
    throw keysDamaged(name, 'it was changed after it was written')
  }
  const result = v.safeParse(schema, rest, { abortEarly: true })
  if (result.success) return result.output
  throw keysDamaged(name, `${v.getDotPath(result.issues[0]) ?? 'the whole'} is not as it must be`)
}

export const base64 = (bytes: number, most = bytes) =>
  v.pipe(
    v.string(),
    v.maxLength(4 * Math.ceil(most / 3)),
    v.base64(),
    v.transform(text => Buffer.from(text, 'base64')),
    v.check(decoded => decoded.length >= bytes && decoded.length <= most),
  )
export const shortText = v.pipe(v.string(), v.maxLength(4096))
export const instant = v.pipe(v.string(), v.isoTimestamp())

/** Something below `keys` is not what it must be. */
export function keysDamaged(name: string, problem: string, cause?: unknown): NexusError {
  return new NexusError('damage', 'keys_damaged', `${name} is damaged: ${problem}`, {
    hint: 'find out who changed it, and put it back from another copy of the repository',
    cause,
  })
}

function digestOf(document: object): string {
  return createHash('sha256').update(canonicalJson(document)).digest('hex')
}

function parsed(bytes: Uint8Array, name: string): unknown {
  try {
    return parseOutsideJson(bytes)
  } catch (cause) {
    throw keysDamaged(name, messageOf(cause), cause)
  }
}
