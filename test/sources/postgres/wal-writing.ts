/** Records to be written; `length` counts their header. */
export interface WrittenRecord {
  rmgr: number
  info: number
  xid: number
  data: Buffer
}

/** Small, so that every record meets the end of a page or a segment. */
const small = { page: 512, segment: 4096 }
const MAGIC = 0xd110

/** A commit at microseconds since 2000. */
export function commitRecord(xid: number, at: bigint): WrittenRecord {
  const data = Buffer.alloc(8)
  data.writeBigInt64LE(at)
  return { rmgr: 1, info: 0, xid, data }
}

/** Segments with these records, from the first page of segment 1 on, as a server lays them out. Returns positions too. */
export function writtenWal(
  records: readonly WrittenRecord[],
  { page: pageBytes, segment: segmentBytes } = small,
): { segments: Buffer[]; positions: bigint[] } {
  const bytes: number[] = []
  const address = BigInt(segmentBytes)
  const positions: bigint[] = []
  let previous = 0n
  const header = (missing: number) => {
    const isFirst = bytes.length % segmentBytes === 0
    const page = Buffer.alloc(isFirst ? 40 : 24)
    page.writeUInt16LE(MAGIC, 0)
    page.writeUInt16LE((isFirst ? 2 : 0) | (missing > 0 ? 1 : 0), 2)
    page.writeUInt32LE(1, 4)
    page.writeBigUInt64LE(address + BigInt(bytes.length), 8)
    page.writeUInt32LE(missing, 16)
    if (isFirst) {
      page.writeBigUInt64LE(7n, 24)
      page.writeUInt32LE(segmentBytes, 32)
      page.writeUInt32LE(pageBytes, 36)
    }
    bytes.push(...page)
  }
  for (const { rmgr, info, xid, data } of records) {
    while (bytes.length % 8 !== 0) bytes.push(0)
    if (bytes.length % pageBytes === 0) header(0)
    const isLong = data.length > 255
    const record = Buffer.alloc(24 + (isLong ? 5 : 2) + data.length)
    const lsn = address + BigInt(bytes.length)
    record.writeUInt32LE(record.length, 0)
    record.writeUInt32LE(xid, 4)
    record.writeBigUInt64LE(previous, 8)
    record[16] = info
    record[17] = rmgr
    record[24] = isLong ? 254 : 255
    if (isLong) record.writeUInt32LE(data.length, 25)
    else record[25] = data.length
    data.copy(record, record.length - data.length)
    for (const [at, byte] of record.entries()) {
      if (bytes.length % pageBytes === 0) header(record.length - at)
      bytes.push(byte)
    }
    positions.push(lsn)
    previous = lsn
  }
  while (bytes.length % segmentBytes !== 0) bytes.push(0)
  const all = Buffer.from(bytes)
  const segments = Array.from({ length: all.length / segmentBytes }, (_, at) =>
    all.subarray(at * segmentBytes, (at + 1) * segmentBytes),
  )
  return { segments, positions }
}
