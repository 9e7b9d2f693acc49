const HEADER_BYTES = 4
const ENTRY_BYTES = 8
const VERSION = 2

/** Kinds of entries (linux/posix_acl.h), and whether one names a user or group. */
const kinds = new Map([
  [0x01, { word: 'user', named: false }],
  [0x02, { word: 'user', named: true }],
  [0x04, { word: 'group', named: false }],
  [0x08, { word: 'group', named: true }],
  [0x10, { word: 'mask', named: false }],
  [0x20, { word: 'other', named: false }],
])

/**
 * An ACL as tar archives have it (acl(5), "Short text form", with numbers for users and groups), from the form that the
 * kernel keeps in an attribute (linux/posix_acl_xattr.h); null for what is none.
 */
export function aclText(bytes: Buffer): string | null {
  if (bytes.length < HEADER_BYTES || (bytes.length - HEADER_BYTES) % ENTRY_BYTES !== 0) return null
  if (bytes.readUInt32LE(0) !== VERSION) return null
  const entries: string[] = []
  for (let at = HEADER_BYTES; at < bytes.length; at += ENTRY_BYTES) {
    const kind = kinds.get(bytes.readUInt16LE(at))
    if (kind === undefined) return null
    const bits = bytes.readUInt16LE(at + 2)
    const permissions = `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${bits & 1 ? 'x' : '-'}`
    entries.push(`${kind.word}:${kind.named ? bytes.readUInt32LE(at + 4) : ''}:${permissions}`)
  }
  return entries.length === 0 ? null : entries.join(',')
}
