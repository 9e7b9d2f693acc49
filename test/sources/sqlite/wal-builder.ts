/** An independent writer of logs, straight from SQLite's "WAL FILE FORMAT", in either byte order. */
export interface Frame {
  page: number
  /** Pages of the database after this commit; 0 for a frame in the middle of a transaction. */
  commit: number
  content: Buffer
}

export function buildWal(
  frames: readonly Frame[],
  { pageSize, bigEndian = false, salts = [1, 2] }: WalOptions,
): Buffer {
  const header = Buffer.alloc(32)
  for (const [word, value] of [bigEndian ? 0x377f0683 : 0x377f0682, 3_007_000, pageSize, 7, ...salts].entries()) {
    header.writeUInt32BE(value, word * 4)
  }
  let sum = fibonacci(header.subarray(0, 24), bigEndian, [0, 0])
  header.writeUInt32BE(sum[0], 24)
  header.writeUInt32BE(sum[1], 28)
  const parts: Buffer[] = [header]
  for (const { page, commit, content } of frames) {
    const head = Buffer.alloc(24)
    for (const [word, value] of [page, commit, ...salts].entries()) head.writeUInt32BE(value, word * 4)
    sum = fibonacci(content, bigEndian, fibonacci(head.subarray(0, 8), bigEndian, sum))
    head.writeUInt32BE(sum[0], 16)
    head.writeUInt32BE(sum[1], 20)
    parts.push(head, content)
  }
  return Buffer.concat(parts)
}

export interface WalOptions {
  pageSize: number
  bigEndian?: boolean
  salts?: [number, number]
}

/** The frames of a log, without looking whether they are valid. */
export function framesOf(wal: Buffer): Frame[] {
  const pageSize = wal.readUInt32BE(8)
  const frames: Frame[] = []
  for (let at = 32; at + 24 + pageSize <= wal.length; at += 24 + pageSize) {
    const content = wal.subarray(at + 24, at + 24 + pageSize)
    frames.push({ page: wal.readUInt32BE(at), commit: wal.readUInt32BE(at + 4), content })
  }
  return frames
}

/** Checksum after the last frame. */
export function endOf(wal: Buffer): [number, number] {
  const at = wal.length - wal.readUInt32BE(8) - 24
  return [wal.readUInt32BE(at + 16), wal.readUInt32BE(at + 20)]
}

function fibonacci(bytes: Buffer, bigEndian: boolean, [s, t]: [number, number]): [number, number] {
  let first = BigInt(s)
  let second = BigInt(t)
  const word = (at: number) => BigInt(bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at))
  for (let at = 0; at < bytes.length; at += 8) {
    first = (first + word(at) + second) & 0xffff_ffffn
    second = (second + word(at + 4) + first) & 0xffff_ffffn
  }
  return [Number(first), Number(second)]
}
