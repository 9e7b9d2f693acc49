import { describe, expect, test } from 'vitest'
import { TarReader } from '../../../src/image/tree/tar-reader.js'
import type { TreeEntry } from '../../../src/image/tree/types.js'
import { aclText } from '../../../src/sources/files/acl-text.js'
import { tarEnd, tarHeader } from '../../../src/sources/files/tar-header.js'

const plain: TreeEntry = {
  path: 'a',
  type: 'file',
  mode: 0o640,
  uid: 0,
  gid: 0,
  owner: 'root',
  group: '',
  mtime: 1,
  size: 0,
  link: '',
  sparse: false,
  base: null,
  facts: {},
}

function read(entry: TreeEntry, mtime: bigint): TreeEntry | undefined {
  const reader = new TarReader()
  const pieces = [...reader.push(Buffer.concat([tarHeader(entry, mtime), tarEnd()]))]
  const found = pieces.find(piece => piece.kind === 'entry')
  return found?.entry
}

describe('a header', () => {
  test.each<[string, Partial<TreeEntry>, bigint]>([
    ['a mode of zero', { mode: 0 }, 1_000_000_000n],
    ['names that others would change', { path: 'c:\\x\\y' }, 1_000_000_000n],
    ['a name of 100 bytes', { path: 'x'.repeat(100) }, 1_000_000_000n],
    ['a longer name of other bytes', { path: `${'x'.repeat(120)}\udce9` }, 1_000_000_000n],
    ['a directory', { type: 'directory', path: 'd'.repeat(100) }, 1_000_000_000n],
    ['a long link', { type: 'symlink', link: '\udcff'.repeat(200) }, 1_000_000_000n],
    ['great owners', { uid: 4_294_967_294, gid: 2_097_152 }, 1_000_000_000n],
    ['a time before 1970 with a fraction', { mtime: -1.5 }, -1_500_000_000n],
    ['a time just before 1970', { mtime: -0.5 }, -500_000_000n],
    ['a time beyond the field', { mtime: 1e11 }, 10n ** 20n],
    ['a device', { type: 'character-device', device: { major: 259, minor: 1_048_575 } }, 1_000_000_000n],
    ['a pipe', { type: 'fifo' }, 1_000_000_000n],
    ['an owner of 31 letters', { owner: 'o'.repeat(31), group: 'g' }, 1_000_000_000n],
  ])('says what the entry is: %s', (_, wishes, mtime) => {
    const entry = { ...plain, ...wishes }
    expect(read(entry, mtime)).toEqual(entry)
  })

  test('has room for a file of more than 8 GiB', () => {
    const entry = { ...plain, size: 2 ** 40 }
    const reader = new TarReader()
    const pieces = [...reader.push(tarHeader(entry, 1_000_000_000n))]
    expect(pieces.at(-1)).toEqual({ kind: 'entry', entry })
  })
})

test('an ACL that is none has no text', () => {
  for (const hex of ['', '02000000', '0200000001000600', '030000000100060000000000', '02000000ff00060000000000'])
    expect(aclText(Buffer.from(hex, 'hex'))).toBe(null)
})
