import { nameOf } from '../../system/file-names.js'
import { badArchive } from './tar-error.js'
import type { TarHeader } from './tar-header.js'

/**
 * The records of a pax extended header: "LENGTH KEY=VALUE\n" (POSIX.1-2017 pax, "pax Extended Header"). An empty value
 * takes an earlier record back.
 *
 * @throws NexusError `failed` when they are garbled
 */
export function readPaxRecords(bytes: Buffer): Map<string, string> {
  const records = new Map<string, string>()
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at)
    const length = space < 0 || space - at > 10 ? Number.NaN : Number(bytes.toString('latin1', at, space))
    const end = at + length
    const record = Number.isInteger(length) && end <= bytes.length ? bytes.subarray(space + 1, end) : Buffer.alloc(0)
    const equals = record.indexOf(0x3d)
    if (record.at(-1) !== 0x0a || equals < 1) throw badArchive('is garbled: an extended header is none')
    const key = record.toString('latin1', 0, equals)
    // Other keys may hold bytes of any kind (extended attributes).
    const value = wanted.has(key) ? nameOf(record.subarray(equals + 1, -1)) : ''
    if (key.startsWith('GNU.sparse.')) throw badArchive('holds sparse members, which only GNU tar can read')
    if (wanted.has(key)) records.set(key, value)
    at = end
  }
  return records
}

const wanted = new Set(['path', 'linkpath', 'size', 'mtime', 'uid', 'gid', 'uname', 'gname'])

/** A header with what extended headers say instead of it. */
export function withPax(header: TarHeader, records: ReadonlyMap<string, string>): TarHeader {
  const text = (key: string, otherwise: string) => records.get(key) || otherwise
  const number = (key: string, otherwise: number) => {
    const value = records.get(key) || undefined
    if (value === undefined) return otherwise
    if (!/^-?\d{1,20}(\.\d*)?$/.test(value)) throw badArchive(`is garbled: ${key} is no number`)
    return Number(value)
  }
  return {
    ...header,
    name: text('path', header.name),
    link: text('linkpath', header.link),
    owner: text('uname', header.owner),
    group: text('gname', header.group),
    size: number('size', header.size),
    mtime: number('mtime', header.mtime),
    uid: number('uid', header.uid),
    gid: number('gid', header.gid),
  }
}
