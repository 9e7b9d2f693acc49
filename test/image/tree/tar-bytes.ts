/** A tar archive made by hand, after POSIX.1-2017 pax and the GNU tar manual and not with our own reader. */
export interface Member {
  name: string
  prefix?: string
  type?: string
  content?: Buffer
  /** Stated instead of the content's length. */
  size?: number | Buffer
  mode?: number
  mtime?: number | Buffer
  uid?: number
  gid?: number
  link?: string
  magic?: string
  owner?: string
}

export function octal(value: number, length: number): Buffer {
  return Buffer.from(`${value.toString(8).padStart(length - 1, '0')}\0`, 'latin1')
}

/** GNU's form for numbers that have too many octal digits, and for negative ones. */
export function base256(value: bigint, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  let rest = BigInt.asUintN(8 * length, value)
  for (let at = length - 1; at >= 0; at -= 1) {
    bytes[at] = Number(rest & 255n)
    rest >>= 8n
  }
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x80
  return bytes
}

export function header(member: Member): Buffer {
  const block = Buffer.alloc(512)
  const number = (value: number | Buffer, length: number) => (typeof value === 'number' ? octal(value, length) : value)
  block.write(member.name, 0, 100)
  number(member.mode ?? 0o644, 8).copy(block, 100)
  number(member.uid ?? 0, 8).copy(block, 108)
  number(member.gid ?? 0, 8).copy(block, 116)
  number(member.size ?? member.content?.length ?? 0, 12).copy(block, 124)
  number(member.mtime ?? 1_700_000_000, 12).copy(block, 136)
  block.write(member.type ?? '0', 156, 1, 'latin1')
  block.write(member.link ?? '', 157, 100)
  block.write(member.magic ?? 'ustar\u000000', 257, 8, 'latin1')
  block.write(member.owner ?? '', 265, 32)
  block.write(member.prefix ?? '', 345, 155)
  return signed(block)
}

/** With its checksum. */
export function signed(block: Buffer): Buffer {
  block.fill(' ', 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

export function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)])
}

export function member(one: Member): Buffer {
  return Buffer.concat([header(one), padded(one.content ?? Buffer.alloc(0))])
}

export function pax(records: Record<string, string>, type = 'x'): Buffer {
  const lines = Object.entries(records).map(([key, value]) => {
    const body = Buffer.from(` ${key}=${value}\n`)
    let length = body.length + 1
    while (String(length).length + body.length !== length) length = String(length).length + body.length
    return Buffer.concat([Buffer.from(String(length)), body])
  })
  return member({ name: 'PaxHeaders/x', type, content: Buffer.concat(lines) })
}

export const end = Buffer.alloc(1024)

export function archive(...members: Buffer[]): Buffer {
  return Buffer.concat([...members, end])
}
