import { NexusError } from '../../errors.js'
import type { ControlFile } from './control-file.js'
import { formatLsn, isSegmentSize, parseWalName, segmentNumber, segmentStart } from './wal-names.js'

/** What the first page of a segment says (PostgreSQL xlog_internal.h, XLogLongPageHeaderData). */
export interface WalHeader {
  magic: number
  /** Major version of the server that wrote it; undefined for one we do not know. */
  major: number | undefined
  timeline: number
  address: bigint
  systemIdentifier: string
  segmentBytes: number
}

const HEADER_BYTES = 40
const LONG_HEADER = 0x0002
/** XLOG_PAGE_MAGIC of each major version. */
const majors: ReadonlyMap<number, number> = new Map([
  [0xd101, 12],
  [0xd106, 13],
  [0xd10d, 14],
  [0xd110, 15],
  [0xd113, 16],
  [0xd116, 17],
  [0xd118, 18],
])
/** PG_CONTROL_VERSION of each of them. */
const controlVersions: ReadonlyMap<number, number> = new Map([
  [12, 1201],
  [13, 1300],
  [14, 1300],
  [15, 1300],
  [16, 1300],
  [17, 1700],
  [18, 1800],
])

/** Reads the header of a segment's first page; undefined when it has none. */
export function parseWalHeader(bytes: Uint8Array): WalHeader | undefined {
  if (bytes.byteLength < HEADER_BYTES) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  // 0xD0 or 0xD1 is the upper half of every magic: it tells the byte order of the machine.
  const little = (bytes[1] ?? 0) >> 4 === 0xd
  const magic = view.getUint16(0, little)
  if (magic >> 12 !== 0xd || (view.getUint16(2, little) & LONG_HEADER) === 0) return undefined
  return {
    magic,
    major: majors.get(magic),
    timeline: view.getUint32(4, little),
    address: view.getBigUint64(8, little),
    systemIdentifier: view.getBigUint64(24, little).toString(),
    segmentBytes: view.getUint32(32, little),
  }
}

/**
 * Makes sure that a file is the whole segment that its name says, of the cluster that `control` describes.
 * @param name of kind segment or partial
 * @param control undefined where there is no data directory to compare with
 * @throws NexusError refused: `wal_malformed`, `wal_foreign`, `wal_version`
 */
export function checkSegment(name: string, bytes: Uint8Array, control: ControlFile | undefined): WalHeader {
  const header = parseWalHeader(bytes)
  if (header === undefined) throw malformed(name, 'it does not begin as a segment does')
  if (!isSegmentSize(header.segmentBytes)) throw malformed(name, `it claims segments of ${header.segmentBytes} bytes`)
  if (bytes.byteLength !== header.segmentBytes) {
    throw malformed(name, `it has ${bytes.byteLength} bytes, and a segment of this cluster has ${header.segmentBytes}`)
  }
  checkPlace(name, header)
  if (control !== undefined) checkWriter(name, header, control)
  if (header.major !== undefined && header.major < 13) {
    throw new NexusError('refused', 'wal_version', `${name} was written by PostgreSQL ${header.major}`, {
      hint: 'servers from 13 on are supported',
    })
  }
  return header
}

function checkPlace(name: string, { address, timeline, segmentBytes }: WalHeader): void {
  const parsed = parseWalName(name)
  if (parsed === undefined || parsed.kind === 'history') throw malformed(name, 'its name is not that of a segment')
  const number = segmentNumber(parsed, segmentBytes)
  if (number === undefined || segmentStart(number, segmentBytes) !== address) {
    throw malformed(name, `its content is that of position ${formatLsn(address)}`)
  }
  // A new timeline begins with a copy of the old one's last segment, so its first page may be of an older one.
  if (timeline > parsed.timeline) throw malformed(name, `its content is that of timeline ${timeline}`)
}

function checkWriter(name: string, header: WalHeader, control: ControlFile): void {
  if (header.systemIdentifier !== control.systemIdentifier) {
    throw new NexusError(
      'refused',
      'wal_foreign',
      `${name} belongs to system ${header.systemIdentifier}, and this data directory is system ${control.systemIdentifier}`,
      { hint: 'somebody has put a file of another cluster into pg_wal: find out where it came from' },
    )
  }
  const isNewer = header.magic > Math.max(...majors.keys())
  // Of a server newer than this program only the system identifier can be compared.
  if (isNewer || (header.major !== undefined && controlVersions.get(header.major) === control.controlVersion)) return
  throw new NexusError(
    'refused',
    'wal_version',
    `${name} was written by another version of PostgreSQL (page magic ${header.magic.toString(16).toUpperCase()}) than this data directory's (control version ${control.controlVersion})`,
    { hint: 'see both versions with: pg_controldata . and pg_waldump -n 1' },
  )
}

function malformed(name: string, problem: string): NexusError {
  return new NexusError('refused', 'wal_malformed', `${name} is not a whole WAL segment: ${problem}`, {
    hint: 'it was not archived; see whether the server can read it: pg_waldump',
  })
}
