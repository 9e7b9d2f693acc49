import { isUtf8 } from 'node:buffer'

/**
 * Names of files are bytes, and in this program they are texts: UTF-8 as what it says, and each byte that is no part of
 * UTF-8 as one low surrogate from U+DC80 to U+DCFF that stands alone (PEP 383). No UTF-8 decodes to that, so a text names
 * exactly one sequence of bytes, and JSON writes it as `\udcXX`. Node would replace such a surrogate on the way to the
 * kernel: every path that may hold one goes through `fsPath`.
 */

/** What stands for a byte is this plus the byte. */
const ESCAPE = 0xdc00
const SURROGATE = /\p{Surrogate}/u
const ESCAPED_BYTE = /^[\udc80-\udcff]$/

/** The text that stands for bytes. */
export function nameOf(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (isUtf8(buffer)) return buffer.toString()
  let name = ''
  for (let at = 0; at < buffer.length; ) {
    const length = sequenceLength(buffer, at)
    name += length === 0 ? String.fromCharCode(ESCAPE + (buffer[at] ?? 0)) : buffer.toString('utf8', at, at + length)
    at += Math.max(length, 1)
  }
  return name
}

/** The bytes that a text stands for. @throws RangeError for a surrogate that stands for no byte */
export function bytesOfName(name: string): Buffer {
  if (!SURROGATE.test(name)) return Buffer.from(name)
  return Buffer.concat(
    [...name].map(character => {
      if (ESCAPED_BYTE.test(character)) return Buffer.of(character.charCodeAt(0) - ESCAPE)
      if (SURROGATE.test(character)) throw new RangeError('half a surrogate pair names no file')
      return Buffer.from(character)
    }),
  )
}

/** A path as the functions of node:fs take it. */
export function fsPath(path: string): string | Buffer {
  return SURROGATE.test(path) ? bytesOfName(path) : path
}

/** Whether a text is what `nameOf` gives for its bytes: no two such texts name the same file. */
export function isFileName(text: string): boolean {
  if (!SURROGATE.test(text)) return true
  return [...text].every(one => !SURROGATE.test(one) || ESCAPED_BYTE.test(one)) && nameOf(bytesOfName(text)) === text
}

/** Whether a text stands for bytes that are not UTF-8. */
export function hasRawBytes(name: string): boolean {
  return SURROGATE.test(name)
}

/**
 * A path for a message. No control character reaches the operator's terminal: such a name is quoted, bytes that are no
 * UTF-8 stand as `\xNN` in it, and characters that are not shown as `\u{N}`.
 */
export function shown(path: string): string {
  if (!/[\p{C}\p{Zl}\p{Zp}]/u.test(path)) return path
  const parts = path.split(/([\udc80-\udcff])/u)
  const escaped = parts.map((part, at) => {
    if (at % 2 === 1) return `\\x${(part.charCodeAt(0) - ESCAPE).toString(16)}`
    const quoted = JSON.stringify(part).slice(1, -1)
    return quoted.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, one => `\\u{${one.codePointAt(0)?.toString(16)}}`)
  })
  return `"${escaped.join('')}"`
}

/** Bytes of the UTF-8 character at a position; 0 when there is none. */
function sequenceLength(bytes: Buffer, at: number): number {
  const lead = bytes[at] ?? 0
  const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
  const sequence = bytes.subarray(at, at + length)
  return sequence.length === length && isUtf8(sequence) ? length : 0
}
