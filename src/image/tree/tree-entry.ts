import { isFileName } from '../../system/file-names.js'
import type { TreeEntry } from './types.js'

/** Bytes of a line of a tree part; what a source wants to know again (`facts`) is part of it. */
export const MAX_LINE_BYTES = 1024 * 1024
const MAX_PATH = 32_768
const MAX_NAME = 1024
/** The user id 2^32 - 1 means "leave as it is" to the kernel. */
const MAX_ID = 0xff_ff_ff_fe
/** Seconds: far beyond what any file system keeps, and safe to hand to the kernel. */
const MAX_TIME = 1e12
const MAX_FILES = 0x7f_ff_ff_fe

/** Names of attributes are at most that long (XATTR_NAME_MAX). */
const MAX_ATTRIBUTE_NAME = 255
/** Characters of base64 for the largest value that the kernel takes, 64 KiB (XATTR_SIZE_MAX). */
const MAX_ATTRIBUTE = 87_384
const MAX_DEVICE_NUMBER = 0xff_ff_ff_ff

const deviceTypes: readonly unknown[] = ['character-device', 'block-device']
const types: readonly unknown[] = ['file', 'directory', 'symlink', 'hardlink', 'fifo', ...deviceTypes]

/**
 * An entry from outside, believed only after every rule held: a relative path without tricks, numbers within what the
 * kernel takes, nothing that contradicts its type. Returns what is wrong otherwise.
 */
export function checkedEntry(value: unknown): TreeEntry | string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'is no entry'
  const entry = value as Partial<Record<keyof TreeEntry, unknown>>
  const { path, type, link, size, base, facts } = entry
  if (typeof path !== 'string' || !isInnerPath(path)) return 'has a path that does not stay inside'
  if (!types.includes(type)) return 'has an unknown type'
  if (!isCount(entry.mode, 0o7777)) return 'has an impossible mode'
  if (!isCount(entry.uid, MAX_ID) || !isCount(entry.gid, MAX_ID)) return 'has an impossible owner'
  if (!isName(entry.owner) || !isName(entry.group)) return 'has an impossible owner'
  if (typeof entry.mtime !== 'number' || !(Math.abs(entry.mtime) <= MAX_TIME)) return 'has an impossible time'
  if (!isCount(size, type === 'file' ? Number.MAX_SAFE_INTEGER : 0)) return 'has an impossible size'
  if (typeof link !== 'string' || !isLink(type, link)) return 'has an impossible link'
  if (!isDevice(type, entry.device)) return 'has an impossible device number'
  if (!areAttributes(type, entry.attributes)) return 'has impossible attributes'
  if (typeof entry.sparse !== 'boolean') return 'does not say whether it is sparse'
  if (base !== null && !(type === 'file' && isCount(base, MAX_FILES))) return 'continues an impossible file'
  if (typeof facts !== 'object' || facts === null || Array.isArray(facts)) return 'has no facts'
  return value as TreeEntry
}

/** Whether an entry is a file, a directory or a link without extended attributes. */
export function isPlainEntry({ type, attributes }: TreeEntry): boolean {
  return attributes === undefined && type !== 'fifo' && !deviceTypes.includes(type)
}

/** The line that keeps an entry, without its end. */
export function entryLine(entry: TreeEntry): string {
  const { path, type, mode, uid, gid, owner, group, mtime, size, link, device, attributes, sparse, base, facts } = entry
  const special = { ...(device === undefined ? {} : { device }), ...(attributes === undefined ? {} : { attributes }) }
  return JSON.stringify({
    path,
    type,
    mode,
    uid,
    gid,
    owner,
    group,
    mtime,
    size,
    link,
    ...special,
    sparse,
    base,
    facts,
  })
}

/** A relative path that stays below its root. */
export function isInnerPath(path: string): boolean {
  if (path.length === 0 || path.length > MAX_PATH || path.includes('\0') || !isFileName(path)) return false
  return !/(^|\/)\.{0,2}(\/|$)/.test(path)
}

function isLink(type: unknown, link: string): boolean {
  if (type === 'symlink') return link !== '' && link.length <= MAX_PATH && !link.includes('\0') && isFileName(link)
  return type === 'hardlink' ? isInnerPath(link) : link === ''
}

function isDevice(type: unknown, device: unknown): boolean {
  if (!deviceTypes.includes(type)) return device === undefined
  if (typeof device !== 'object' || device === null) return false
  const { major, minor } = device as { major?: unknown; minor?: unknown }
  return isCount(major, MAX_DEVICE_NUMBER) && isCount(minor, MAX_DEVICE_NUMBER)
}

function areAttributes(type: unknown, attributes: unknown): boolean {
  if (attributes === undefined) return true
  if (type !== 'file' && type !== 'directory') return false
  if (typeof attributes !== 'object' || attributes === null || Array.isArray(attributes)) return false
  return Object.entries(attributes).every(
    ([name, value]) =>
      name !== '' &&
      !name.includes('\0') &&
      name.length <= MAX_ATTRIBUTE_NAME &&
      typeof value === 'string' &&
      value.length <= MAX_ATTRIBUTE &&
      /^[A-Za-z0-9+/]*={0,2}$/.test(value),
  )
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && value.length <= MAX_NAME && !value.includes('\0')
}

function isCount(value: unknown, most: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most
}
