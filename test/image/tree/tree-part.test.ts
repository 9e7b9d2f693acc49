import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compress } from 'zstd-napi'
import { DamagedPart, type StoredPart } from '../../../src/image/chain.js'
import { checkTree, loadLayout, type TreeCounts } from '../../../src/image/tree/load-layout.js'
import { loadTree } from '../../../src/image/tree/tree.js'
import type { TreeEntry } from '../../../src/image/tree/types.js'
import { partOf } from '../parts.js'

const BLOCK = 512

function entry(change: Partial<TreeEntry>): TreeEntry {
  return {
    path: 'a',
    type: 'file',
    mode: 0o644,
    uid: 0,
    gid: 0,
    owner: 'root',
    group: 'root',
    mtime: 1.5,
    size: 0,
    link: '',
    sparse: false,
    base: null,
    facts: {},
    ...change,
  }
}

const file = (path: string, change: Partial<TreeEntry> = {}) => entry({ path, ...change })
const directory = (path: string) => entry({ path, type: 'directory' })
const symlink = (path: string, link = 'x') => entry({ path, type: 'symlink', link })
const hardlink = (path: string, link: string) => entry({ path, type: 'hardlink', link })

function stored(lines: readonly unknown[]): Buffer {
  return compress(Buffer.from(lines.map(line => `${JSON.stringify(line)}\n`).join('')))
}

function countsOf(entries: readonly Partial<TreeEntry>[]): TreeCounts {
  const files = entries.filter(one => one?.type === 'file')
  const sizes = files.map(({ size }) => Number(size))
  const rows = sizes.reduce((sum, size) => sum + Math.ceil(size / BLOCK), 0)
  return {
    blockSize: BLOCK,
    entries: entries.length,
    files: files.length,
    rows,
    bytes: sizes.reduce((a, b) => a + b, 0),
  }
}

async function load(entries: readonly TreeEntry[], counts = countsOf(entries)) {
  return loadTree(partOf('tree.jsonl.zst', stored(entries)), counts)
}

async function refusal(part: StoredPart, counts: TreeCounts): Promise<unknown> {
  return loadTree(part, counts).then(
    () => 'read',
    error => error,
  )
}

describe('a list of entries', () => {
  test('finds each of many entries by its path, and no directory that is only on the way', async () => {
    const entries = Array.from({ length: 3000 }, (_, at) =>
      at % 3 === 0 ? symlink(`on/the-way/${at}`) : file(`${at}`, { size: at }),
    )
    const tree = await load(entries)
    expect(entries.map(({ path }) => tree.find(path))).toEqual(entries)
    expect(['on', 'on/the-way', 'on/the-way/1', '0'].map(path => tree.find(path))).toEqual(Array(4).fill(undefined))
  })

  test('is read as it was written, by number and by path', async () => {
    const entries = [
      file('dir/b', { size: 1000, base: 3, facts: { inode: 7, deep: { x: ['ü'] } }, mtime: 1_700_000_000.123_456 }),
      directory('dir'),
      file('a', { size: 512, sparse: true, mode: 0o4755, uid: 4_294_967_294, owner: 'postgres' }),
      symlink('dir/link', '../..//anything/'),
      hardlink('dir/hard', 'a'),
      file('empty', { base: 0 }),
    ]
    const tree = await load(entries)
    expect([...tree.entries()]).toEqual(entries)
    expect(entries.map(({ path }) => tree.find(path))).toEqual(entries)
    expect(['', 'di', 'dir/', 'nothing', 'dir/b/c'].map(path => tree.find(path))).toEqual(Array(5).fill(undefined))
    expect([tree.size, tree.count, tree.layout.rows]).toEqual([6, 3, 3])
    expect([0, 1, 2].map(number => tree.fileEntry(number).path)).toEqual(['dir/b', 'a', 'empty'])
    expect(['dir/b', 'a', 'empty'].map(path => tree.fileNumber(path))).toEqual([0, 1, 2])
    for (const path of ['dir', 'dir/link', 'dir/hard', 'nothing', '']) expect(tree.fileNumber(path)).toBeUndefined()
    const { layout } = tree
    expect([0, 1, 2].map(number => [layout.firstRowOf(number), layout.sizeOf(number), layout.baseOf(number)])).toEqual([
      [0, 1000, 3],
      [2, 512, -1],
      [3, 0, 0],
    ])
    const part = partOf('tree.jsonl.zst', stored(entries))
    for (const other of [await loadLayout(part, countsOf(entries)), await checkTree(part, countsOf(entries))]) {
      expect([other.count, other.rows, other.baseOf(0)]).toEqual([3, 3, 3])
    }
  })

  test('may be long: every one of ten thousand entries is found again, in any order', async () => {
    const entries = Array.from({ length: 10_000 }, (_, at) =>
      at % 10 === 0 ? directory(`d${at}`) : file(`d${at - (at % 10)}/f${at}`, { size: at % 3, facts: { at } }),
    )
    const tree = await load(entries)
    for (let at = 0, step = 7919; at < 10_000; at += 1) {
      const wanted = entries[(at * step) % 10_000]
      if (wanted?.type !== 'file') continue
      const number = tree.fileNumber(wanted.path)
      expect(number === undefined ? undefined : tree.fileEntry(number)).toEqual(wanted)
    }
    expect([...tree.entries()]).toEqual(entries)
  })

  const bad: [string, unknown[]][] = [
    ['a path that climbs out', [file('../a')]],
    ['a path that climbs out later', [file('a/../../b')]],
    ['an absolute path', [file('/etc/passwd')]],
    ['a path with an empty part', [file('a//b')]],
    ['a path with a dot', [file('a/./b')]],
    ['a path that ends in a slash', [directory('a/')]],
    ['an empty path', [file('')]],
    ['the root', [directory('.')]],
    ['a path with a NUL', [file('a\0b')]],
    ['half a character in a path', [file('a\ud800')]],
    ['bytes in a path that are UTF-8 together', [file('\udcc3\udca9')]],
    ['a device without numbers', [{ ...directory('a'), type: 'block-device' }]],
    ['a device number of a file', [file('a', { device: { major: 1, minor: 3 } })]],
    ['attributes of a symbolic link', [{ ...symlink('a', 'b'), attributes: { 'user.a': '' } }]],
    ['an attribute that is no base64', [file('a', { attributes: { 'user.a': '?' } })]],
    ['a path that is no text', [{ ...file('a'), path: 7 }]],
    ['a path twice', [file('a'), file('b'), file('a')]],
    ['a directory twice', [directory('a'), directory('a')]],
    ['a file below a symbolic link', [symlink('a', '/etc'), file('a/passwd')]],
    ['a symbolic link above a file that came before', [file('a/b/c'), symlink('a', '/etc')]],
    ['a file below a file', [file('a'), file('a/b/c')]],
    ['a file below a hard link', [file('f'), hardlink('a', 'f'), file('a/b')]],
    ['a directory below a symbolic link', [symlink('x/y', '/'), directory('x/y/etc')]],
    ['a hard link to nothing', [hardlink('a', 'b')]],
    ['a hard link to what comes later', [hardlink('a', 'b'), file('b')]],
    ['a hard link to a directory', [directory('d'), hardlink('a', 'd')]],
    ['a hard link that climbs out', [hardlink('a', '../b')]],
    ['a symbolic link to nothing', [symlink('a', '')]],
    ['a symbolic link with a NUL', [symlink('a', 'b\0')]],
    ['a file with a link', [file('a', { link: 'b' })]],
    ['an unknown type', [{ ...file('a'), type: 'socket' }]],
    ['a mode with a file type', [file('a', { mode: 0o100644 })]],
    ['a negative mode', [file('a', { mode: -1 })]],
    ['a user id that means none', [file('a', { uid: 2 ** 32 - 1 })]],
    ['a user id with a fraction', [file('a', { uid: 0.5 })]],
    ['an owner that is no text', [{ ...file('a'), owner: null }]],
    ['a time that is none', [{ ...file('a'), mtime: null }]],
    ['a time beyond all', [file('a', { mtime: 1e15 })]],
    ['a negative size', [file('a', { size: -1 })]],
    ['a size with a fraction', [file('a', { size: 1.5 })]],
    ['a size that cannot be counted', [file('a', { size: 2 ** 53 })]],
    ['a directory with a size', [entry({ path: 'd', type: 'directory', size: 1 })]],
    ['a directory that continues a file', [entry({ path: 'd', type: 'directory', base: 1 })]],
    ['a negative base', [file('a', { base: -1 })]],
    ['a base beyond all files', [file('a', { base: 2 ** 31 })]],
    ['two files that continue one', [file('a', { base: 4 }), file('b', { base: 4 })]],
    ['sparseness that is none', [{ ...file('a'), sparse: 1 }]],
    ['facts that are none', [{ ...file('a'), facts: [] }]],
    ['no object', [7]],
    ['nothing', [null]],
    ['a list', [[]]],
  ]
  test.each(bad)('is refused when it has %s', async (_, entries) => {
    const error = await refusal(partOf('tree.jsonl.zst', stored(entries)), countsOf(entries as TreeEntry[]))
    expect(error).toBeInstanceOf(DamagedPart)
    expect(error).toMatchObject({ kind: 'damage', finding: { part: 'tree.jsonl.zst' } })
  })

  test('is refused when it does not come to what the manifest counts', async () => {
    const entries = [file('a', { size: 600 }), directory('d')]
    const good = countsOf(entries)
    expect((await load(entries)).size).toBe(2)
    for (const key of ['entries', 'files', 'rows', 'bytes'] as const) {
      for (const by of [-1, 1]) {
        const error = await refusal(partOf('t', stored(entries)), { ...good, [key]: good[key] + by })
        expect(error, `${key} ${by}`).toBeInstanceOf(DamagedPart)
      }
    }
  })

  test('is refused when any byte of it is flipped, when it is cut off, goes on, or is gone', async () => {
    const entries = Array.from({ length: 20 }, (_, at) => file(`f${at}`, { size: at }))
    const good = stored(entries)
    const part = partOf('tree.jsonl.zst', good)
    const bads = [good.subarray(0, -1), good.subarray(0, 0), Buffer.concat([good, good]), Buffer.from('no zstd')]
    for (let at = 0; at < good.length; at += 1) {
      const flipped = Buffer.from(good)
      flipped[at] = (flipped[at] ?? 0) ^ 0x10
      bads.push(flipped)
    }
    for (const bytes of bads) {
      const forged = { ...part, open: partOf('x', bytes).open }
      expect(await refusal(forged, countsOf(entries))).toBeInstanceOf(DamagedPart)
      // With a digest to match: an intruder who knows the format.
      const matching = await refusal(partOf('tree.jsonl.zst', bytes), countsOf(entries))
      if (matching !== 'read') expect(matching).toBeInstanceOf(DamagedPart)
    }
    const gone = async () => {
      throw Object.assign(new Error('gone'), { code: 'ENOENT' })
    }
    expect(await refusal({ ...part, open: gone }, countsOf(entries))).toMatchObject({
      finding: { problem: 'is missing' },
    })
  })

  test('is refused, and never held in memory, when it decompresses to a line without end', async () => {
    const bomb = compress(Buffer.alloc(64 * 1024 * 1024, 0x20))
    const error = await refusal(partOf('t', bomb), countsOf([]))
    expect(error).toMatchObject({ finding: { problem: 'has a line that is too long' } })
    const unended = compress(Buffer.from(JSON.stringify(file('a'))))
    expect(await refusal(partOf('t', unended), countsOf([file('a')]))).toMatchObject({ message: /within a line/ })
    const latin = compress(Buffer.from('{"path":"\xff"}\n', 'latin1'))
    expect(await refusal(partOf('t', latin), countsOf([file('a')]))).toMatchObject({ message: /UTF-8/ })
  })

  test('is read or refused, and nothing else, whatever JSON stands in it', async () => {
    const anything = fc.oneof(
      fc.jsonValue(),
      fc.record({ ...Object.fromEntries(Object.keys(entry({})).map(key => [key, fc.jsonValue()])) }),
      fc.tuple(fc.constantFrom(...Object.keys(entry({}))), fc.jsonValue()).map(([key, value]) => {
        return { ...entry({}), [key]: value }
      }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(anything, { maxLength: 4 }), async lines => {
        const result = await refusal(partOf('t', stored(lines)), countsOf(lines as TreeEntry[]))
        if (result !== 'read') expect(result).toBeInstanceOf(DamagedPart)
      }),
      { numRuns: 500 },
    )
  })
})
