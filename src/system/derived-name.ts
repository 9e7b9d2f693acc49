import { createHash } from 'node:crypto'

/** Bytes that a name in a directory has at most (NAME_MAX), on every file system in use. */
export const NAME_BYTES = 255
const HASH_LENGTH = 12

/**
 * A name made of another one, such as that of a record or a staged file beside it, never longer than a file system takes. A
 * name that is too long for it is cut and gets a hash of the whole, so that names which begin alike stay apart; the same
 * name always gives the same.
 *
 * @param parts.reserved bytes that names which are made of this one in turn add to it at most
 */
export function derivedName(
  name: string,
  { prefix = '', suffix = '', reserved = 0 }: { prefix?: string; suffix?: string; reserved?: number },
): string {
  return prefix + shortened(name, NAME_BYTES - Buffer.byteLength(prefix + suffix) - reserved) + suffix
}

function shortened(name: string, room: number): string {
  const bytes = Buffer.from(name)
  if (bytes.length <= room) return name
  const hash = createHash('sha256').update(bytes).digest('hex').slice(0, HASH_LENGTH)
  return `${beginning(bytes, room - HASH_LENGTH - 1)}~${hash}`
}

/** So many bytes at most, and no half of a character. */
function beginning(bytes: Buffer, length: number): string {
  let end = length
  // Bytes that go on with a UTF-8 character are 10xxxxxx.
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1
  return bytes.toString('utf8', 0, end)
}
