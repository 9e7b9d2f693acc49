import { NexusError } from '../../errors.js'
import { headerSum, TAR_BLOCK } from './tar-scan.js'

/** A member to be written. */
export interface NewMember {
  name: string
  type: '0' | '5'
  mode: number
  uid: number
  gid: number
  size: number
  /** Seconds since 1970. */
  mtime: number
}

/** A ustar header. @throws NexusError for a name that ustar cannot hold */
export function tarHeader(member: NewMember): Buffer {
  const header = Buffer.alloc(TAR_BLOCK)
  header.write(octal(member.mode, 8), 100, 'latin1')
  putNumber(header, 108, 8, member.uid)
  putNumber(header, 116, 8, member.gid)
  putNumber(header, 124, 12, member.size)
  putNumber(header, 136, 12, member.mtime)
  header.write(member.type, 156, 'latin1')
  header.write('ustar\0' + '00', 257, 'latin1')
  putName(header, member.type === '5' ? `${member.name}/` : member.name)
  return header
}

/** A copy of a header under another name; everything else stays. */
export function renamedHeader(header: Buffer, name: string): Buffer {
  const copy = Buffer.from(header)
  putName(copy, copy.toString('latin1', 156, 157) === '5' ? `${name}/` : name)
  return copy
}

/** Writes the name, in two fields where it is long, and the checksum. */
function putName(header: Buffer, name: string): void {
  const { prefix, rest } = split(Buffer.from(name))
  header.fill(0, 0, 100)
  header.fill(0, 345, 500)
  rest.copy(header, 0)
  prefix.copy(header, 345)
  header.write(`${octal(headerSum(header), 7)}\0 `.slice(0, 8), 148, 'latin1')
}

function split(name: Buffer): { prefix: Buffer; rest: Buffer } {
  if (name.length <= 100) return { prefix: Buffer.alloc(0), rest: name }
  for (let at = name.indexOf(0x2f); at !== -1 && at <= 155; at = name.indexOf(0x2f, at + 1)) {
    if (name.length - at - 1 <= 100 && at + 1 < name.length) {
      return { prefix: name.subarray(0, at), rest: name.subarray(at + 1) }
    }
  }
  throw new NexusError('failed', 'name_too_long', `a file’s name is too long for a tar archive: ${name.toString()}`, {
    hint: 'move the file out of the tablespace: PostgreSQL itself makes no such names',
  })
}

function putNumber(header: Buffer, at: number, length: number, value: number): void {
  if (value < 8 ** (length - 1)) {
    header.write(octal(value, length), at, 'latin1')
    return
  }
  header[at] = 0x80
  header.writeUIntBE(value, at + length - 6, 6)
}

/** Octal digits that leave one byte of the field for the zero behind them. */
function octal(value: number, length: number): string {
  return value.toString(8).padStart(length - 1, '0')
}
