import type { TarEntryData } from 'archiver'
import type { TreeEntry } from '../../image/tree/types.js'

/** Greatest owner that tar-stream writes into a header: six octal digits. */
const MAX_HEADER_ID = 0o777777
/** Seconds: tar-stream cuts times to 31 bits and a sign that tar does not know. */
const MAX_HEADER_TIME = 0x7fffffff
/** Bytes of a name of owner or group in a header, with its end (ustar). */
const NAME_FIELD = 32
/** Stands in the header where archiver would make another name of the real one, which follows in the extended header. */
const PLACEHOLDER = 'name-in-extended-header'

const tarTypes = { file: 'file', directory: 'directory', symlink: 'symlink', hardlink: 'link' } as const

/**
 * An entry in the words of archiver. What the header of a tar archive cannot hold, or archiver and tar-stream would
 * change (backslashes and `c:` in names, a mode of zero, owners above 262143, fractions of a second, times before 1970
 * and after 2038: archiver 8 lib/utils.js, tar-stream 3 headers.js), goes into an extended header (pax).
 *
 * @param mtime nanoseconds
 */
export function tarEntryOf(entry: TreeEntry, mtime: bigint): TarEntryData {
  const { path, type, mode, uid, gid, owner, group, size, link } = entry
  const seconds = Math.floor(Number(mtime / 1_000_000_000n))
  const pax: Record<string, string> = {}
  const altered = path.includes('\\') || /^\w+:/.test(path)
  if (altered) pax.path = type === 'directory' ? `${path}/` : path
  if (mtime % 1_000_000_000n !== 0n || seconds < 0 || seconds > MAX_HEADER_TIME) pax.mtime = decimalSeconds(mtime)
  if (uid > MAX_HEADER_ID) pax.uid = String(uid)
  if (gid > MAX_HEADER_ID) pax.gid = String(gid)
  return {
    name: altered ? PLACEHOLDER : path,
    type: tarTypes[type],
    date: new Date(Math.min(Math.max(seconds, 0), MAX_HEADER_TIME) * 1000),
    mode: mode === 0 ? '0' : mode,
    uid: Math.min(uid, MAX_HEADER_ID),
    gid: Math.min(gid, MAX_HEADER_ID),
    ...(fits(owner) ? { uname: owner } : {}),
    ...(fits(group) ? { gname: group } : {}),
    ...(link === '' ? {} : { linkname: link }),
    ...(Object.keys(pax).length > 0 ? { pax } : {}),
    ...(type === 'file' ? { stats: { size } } : {}),
  }
}

function fits(name: string): boolean {
  return name !== '' && Buffer.byteLength(name) < NAME_FIELD
}

/** Nanoseconds as seconds with a fraction, exactly. */
export function decimalSeconds(nanoseconds: bigint): string {
  const sign = nanoseconds < 0n ? '-' : ''
  const size = nanoseconds < 0n ? -nanoseconds : nanoseconds
  const fraction = String(size % 1_000_000_000n).padStart(9, '0')
  return `${sign}${size / 1_000_000_000n}.${fraction}`
}
