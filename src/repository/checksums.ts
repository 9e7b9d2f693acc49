import { NexusError } from '../errors.js'
import { quoted } from './layout.js'

/** Bytes a SHA256SUMS may have: a backup has a handful of files. */
export const checksumsLimit = 1024 * 1024

const line = /^([0-9a-f]{64}) {2}([^/\\\p{Cc}]+)$/u

/**
 * SHA256SUMS in the one form we write: `<hex>  <name>`, sorted bytewise by name, one line feed each.
 * `sha256sum -c` reads it. Names must be part names (layout.ts): `sha256sum` escapes others.
 */
export function formatChecksums(sums: ReadonlyMap<string, string>): string {
  return [...sums]
    .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map(([name, hex]) => `${hex}  ${name}\n`)
    .join('')
}

/**
 * Parses a SHA256SUMS and insists on the canonical form, so that the bytes and their meaning are one.
 * @param where names the file in messages
 * @throws NexusError damage
 */
export function parseChecksums(bytes: Uint8Array, where: string): Map<string, string> {
  const text = decode(bytes, where)
  const sums = new Map<string, string>()
  if (text === '') throw damaged(where, 'it is empty')
  if (!text.endsWith('\n')) throw damaged(where, 'its last line is cut off')
  for (const row of text.slice(0, -1).split('\n')) {
    const [, hex, name] = line.exec(row) ?? []
    if (hex === undefined || name === undefined) throw damaged(where, `line ${quoted(row)} is not a checksum`)
    if (sums.has(name)) throw damaged(where, `${quoted(name)} stands in it twice`)
    sums.set(name, hex)
  }
  if (formatChecksums(sums) !== text) throw damaged(where, 'its lines are not in order')
  return sums
}

function decode(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw damaged(where, 'it is not UTF-8', cause)
  }
}

function damaged(where: string, problem: string, cause?: unknown): NexusError {
  return new NexusError('damage', 'checksums_damaged', `${where} is damaged: ${problem}`, { cause })
}
