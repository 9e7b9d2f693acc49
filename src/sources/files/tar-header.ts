import type { TreeEntry } from '../../image/tree/types.js'
import { ACCESS_ACL, DEFAULT_ACL } from '../../system/attributes.js'
import { bytesOfName } from '../../system/file-names.js'
import { aclText } from './acl-text.js'

/** Bytes of a block, to whose multiples everything in an archive is filled up. */
const BLOCK = 512
const ZEROS = Buffer.alloc(BLOCK)
/** Bytes of a header's fields for a name, and for a name of owner or group with its end. */
const NAME_FIELD = 100
const OWNER_FIELD = 32
/** Greatest numbers that fit a header's octal fields. */
const MAX_ID = 0o7777777
const MAX_SIZE = 0o77777777777

const flags: Record<TreeEntry['type'], string> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  'character-device': '3',
  'block-device': '4',
  directory: '5',
  fifo: '6',
}

type Records = [key: string, value: Buffer][]

/**
 * The header of an entry in a tar archive (POSIX.1-2017 pax, "ustar Interchange Format"). What it cannot hold follows
 * the standard in an extended header before it: long names, large numbers, fractions of a second, times before 1970 and
 * after 2242; attributes and ACLs as GNU tar and bsdtar write them (`SCHILY.xattr.NAME`, `SCHILY.acl.access`). Names are
 * the bytes that they are, which GNU tar restores exactly.
 *
 * @param mtime nanoseconds
 */
export function tarHeader(entry: TreeEntry, mtime: bigint): Buffer {
  const { type, mode, uid, gid, owner, group, size, device } = entry
  const name = bytesOfName(type === 'directory' ? `${entry.path}/` : entry.path)
  const link = bytesOfName(entry.link)
  const seconds = mtime / 1_000_000_000n
  const records: Records = []
  const put = (key: string, value: string | Buffer) => records.push([key, Buffer.from(value)])
  if (name.length > NAME_FIELD) put('path', name)
  if (link.length > NAME_FIELD) put('linkpath', link)
  if (mtime < 0n || mtime % 1_000_000_000n !== 0n || seconds > MAX_SIZE) put('mtime', decimalSeconds(mtime))
  if (uid > MAX_ID) put('uid', String(uid))
  if (gid > MAX_ID) put('gid', String(gid))
  if (size > MAX_SIZE) put('size', String(size))
  records.push(...attributeRecords(entry))
  const fields = {
    name,
    link,
    mode,
    uid: Math.min(uid, MAX_ID),
    gid: Math.min(gid, MAX_ID),
    size: size > MAX_SIZE ? 0 : size,
    seconds: Number(seconds < 0n ? 0n : seconds > MAX_SIZE ? BigInt(MAX_SIZE) : seconds),
    owner,
    group,
    device: device ?? { major: 0, minor: 0 },
  }
  const header = ustar({ ...fields, flag: flags[type] })
  if (records.length === 0) return header
  const extension = Buffer.concat(records.map(paxRecord))
  const before = ustar({ ...fields, name: EXTENSION, link: NOTHING, size: extension.length, flag: 'x' })
  return Buffer.concat([before, extension, tarPadding(extension.length), header])
}

const EXTENSION = Buffer.from('PaxHeader')
const NOTHING = Buffer.alloc(0)

/** Zeros that fill up what an entry's content leaves of its last block. */
export function tarPadding(size: number): Buffer {
  return ZEROS.subarray(0, (BLOCK - (size % BLOCK)) % BLOCK)
}

/** The end of an archive. */
export function tarEnd(): Buffer {
  return Buffer.alloc(2 * BLOCK)
}

/** Nanoseconds as seconds with a fraction, exactly. */
export function decimalSeconds(nanoseconds: bigint): string {
  const sign = nanoseconds < 0n ? '-' : ''
  const size = nanoseconds < 0n ? -nanoseconds : nanoseconds
  const fraction = String(size % 1_000_000_000n).padStart(9, '0')
  return `${sign}${size / 1_000_000_000n}.${fraction}`
}

function attributeRecords({ attributes = {} }: TreeEntry): Records {
  return Object.entries(attributes).map(([name, base64]) => {
    const value = Buffer.from(base64, 'base64')
    const acl = name === ACCESS_ACL || name === DEFAULT_ACL ? aclText(value) : null
    if (acl !== null) return [name === ACCESS_ACL ? 'SCHILY.acl.access' : 'SCHILY.acl.default', Buffer.from(acl)]
    // As GNU tar does: an equals sign ends a key.
    const key = name.replace(/[%=]/g, character => (character === '%' ? '%25' : '%3D'))
    return [`SCHILY.xattr.${key}`, value]
  })
}

/** "LENGTH KEY=VALUE\n"; the length counts its own digits. */
function paxRecord([key, value]: Records[number]): Buffer {
  const body = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')])
  let length = body.length + 1
  while (String(length).length + body.length !== length) length = String(length).length + body.length
  return Buffer.concat([Buffer.from(String(length)), body])
}

interface Fields {
  name: Buffer
  link: Buffer
  mode: number
  uid: number
  gid: number
  size: number
  seconds: number
  owner: string
  group: string
  device: { major: number; minor: number }
  flag: string
}

function ustar({ name, link, mode, uid, gid, size, seconds, owner, group, device, flag }: Fields): Buffer {
  // From Node's pool: memory of its own for each block costs more than all the rest.
  const block = Buffer.allocUnsafe(BLOCK).fill(0)
  const octal = (value: number, at: number, length: number) => {
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1')
  }
  name.copy(block, 0, 0, NAME_FIELD)
  octal(mode, 100, 8)
  octal(uid, 108, 8)
  octal(gid, 116, 8)
  octal(size, 124, 12)
  octal(seconds, 136, 12)
  block.fill(' ', 148, 156)
  block.write(flag, 156, 'latin1')
  link.copy(block, 157, 0, NAME_FIELD)
  block.write('ustar\x0000', 257, 'latin1')
  if (Buffer.byteLength(owner) < OWNER_FIELD) block.write(owner, 265)
  if (Buffer.byteLength(group) < OWNER_FIELD) block.write(group, 297)
  octal(device.major, 329, 8)
  octal(device.minor, 337, 8)
  let sum = 0
  for (let at = 0; at < BLOCK; at += 1) sum += block[at] ?? 0
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}
