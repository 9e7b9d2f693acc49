import { NexusError } from '../../errors.js'

/** Bytes of a header and the unit to which content is padded (POSIX ustar). */
export const TAR_BLOCK = 512

/** A member of an archive, as far as a base backup's are looked at. */
export interface TarMember {
  name: string
  /** `0` file, `5` directory, `2` symbolic link. */
  type: string
  /** Bytes of content. */
  size: number
  uid: number
  gid: number
  /** Seconds since 1970. */
  mtime: number
}

/** What stands in an archive: headers, content, and the zeros that pad it. */
export type TarPiece =
  | { kind: 'header'; member: TarMember; bytes: Buffer }
  | { kind: 'content' | 'padding'; member: TarMember; bytes: Buffer }

/**
 * Finds the members in the archives that `pg_basebackup` writes, whatever the pieces they come in. They are plain ustar
 * (PostgreSQL tar.c): names of up to 100 bytes, large sizes in base 256, no extended headers.
 */
export class TarScanner {
  #header: Buffer[] = []
  #headerBytes = 0
  #member: TarMember | null = null
  #content = 0
  #padding = 0
  #ended = false

  /** The end-of-archive mark was seen; what follows is nothing. */
  get ended(): boolean {
    return this.#ended
  }

  /** The pieces of the next bytes. @throws NexusError `tar_damaged` for a header that is none */
  push(chunk: Buffer): TarPiece[] {
    const pieces: TarPiece[] = []
    let at = 0
    while (at < chunk.length && !this.#ended) {
      if (this.#member !== null && this.#content > 0) {
        const bytes = chunk.subarray(at, at + this.#content)
        this.#content -= bytes.length
        at += bytes.length
        pieces.push({ kind: 'content', member: this.#member, bytes })
      } else if (this.#member !== null && this.#padding > 0) {
        const bytes = chunk.subarray(at, at + this.#padding)
        this.#padding -= bytes.length
        at += bytes.length
        pieces.push({ kind: 'padding', member: this.#member, bytes })
      } else {
        at += this.#takeHeader(chunk.subarray(at), pieces)
      }
    }
    return pieces
  }

  #takeHeader(rest: Buffer, pieces: TarPiece[]): number {
    const bytes = rest.subarray(0, TAR_BLOCK - this.#headerBytes)
    this.#header.push(bytes)
    this.#headerBytes += bytes.length
    if (this.#headerBytes < TAR_BLOCK) return bytes.length
    const header = this.#header.length === 1 ? bytes : Buffer.concat(this.#header)
    this.#header = []
    this.#headerBytes = 0
    if (header.every(byte => byte === 0)) {
      this.#ended = true
      return bytes.length
    }
    const member = memberOf(header)
    this.#member = member
    this.#content = member.type === '0' ? member.size : 0
    this.#padding = paddingOf(this.#content)
    pieces.push({ kind: 'header', member, bytes: header })
    return bytes.length
  }
}

/** Zeros that follow content of so many bytes. */
export function paddingOf(size: number): number {
  return (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK
}

/** Sum of a header's bytes with its checksum field read as spaces. */
export function headerSum(header: Buffer): number {
  let sum = 8 * 0x20
  for (let at = 0; at < TAR_BLOCK; at++) if (at < 148 || at >= 156) sum += header[at] ?? 0
  return sum
}

function memberOf(header: Buffer): TarMember {
  if (header.toString('latin1', 257, 262) !== 'ustar' || number(header, 148, 8) !== headerSum(header)) {
    throw new NexusError('failed', 'tar_damaged', 'what pg_basebackup sent is not a tar archive', {
      hint: 'run it again; if it stays, look at the server’s log',
    })
  }
  const prefix = text(header, 345, 155)
  const name = text(header, 0, 100)
  const type = header.toString('latin1', 156, 157)
  return {
    name: (prefix === '' ? name : `${prefix}/${name}`).replace(/\/+$/, ''),
    type: type === '\0' ? '0' : type,
    size: number(header, 124, 12),
    uid: number(header, 108, 8),
    gid: number(header, 116, 8),
    mtime: number(header, 136, 12),
  }
}

function text(header: Buffer, at: number, length: number): string {
  const field = header.subarray(at, at + length)
  const end = field.indexOf(0)
  return field.toString('utf8', 0, end === -1 ? length : end)
}

/** Octal digits, or base 256 where the first byte says so. */
function number(header: Buffer, at: number, length: number): number {
  const field = header.subarray(at, at + length)
  if (((field[0] ?? 0) & 0x80) === 0) return Number.parseInt(field.toString('latin1').replace(/[\0 ].*$/s, ''), 8) || 0
  return field.subarray(1).reduce((value, byte) => value * 256 + byte, 0)
}
