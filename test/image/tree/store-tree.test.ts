import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { decompress } from 'zstd-napi'
import { DigestTable } from '../../../src/image/digest-table.js'
import { storeTree } from '../../../src/image/tree/store-tree.js'
import type { TreeEntry, TreeInput } from '../../../src/image/tree/types.js'
import { WorkerPool } from '../../../src/image/workers/pool.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { MemorySink, quiet, xxh } from '../parts.js'
import { archive, type Member, member } from './tar-bytes.js'
import { inPieces, plainInput, storeTreeBackup, type TreeBackup } from './tree-store.js'

let pool: WorkerPool
beforeAll(() => {
  pool = WorkerPool.start(new AbortController().signal, 2)
})
afterAll(() => pool.stop())

const BLOCK = 512

function input(members: Member[], change: Partial<TreeInput> = {}): TreeInput {
  const tar = inPieces(archive(...members.map(member)), [1000])
  return { ...plainInput(tar, BLOCK), ...change }
}

function store(made: TreeInput, parent: TreeBackup | null = null, directory = temporaryDirectory()) {
  return storeTreeBackup(made, parent, { pool, directory })
}

const text = (name: string, content: string): Member => ({ name, content: Buffer.from(content) })
const carried = (entry: Partial<TreeEntry>, base: number) => {
  const names = { path: '', link: '', owner: '', group: '' }
  const numbers = { mode: 0o644, uid: 0, gid: 0, mtime: 0, size: 0 }
  return { entry: { ...names, ...numbers, sparse: false, facts: {}, ...entry, type: 'file' as const, base } }
}

describe('storing a tree', () => {
  test('continues the file of the same path when the source says nothing else', async () => {
    const full = await store(input([text('a', 'x'.repeat(2000)), text('b', 'y'.repeat(600))]))
    expect(full.stored).toEqual({ blocks: 6, rows: 6, entries: 2, files: 2, bytes: 2600 })
    expect(full.tree.fileEntry(0).base).toBeNull()
    const grown = `${'x'.repeat(2000)}more`
    const incr = await store(input([text('new', 'n'), text('b', 'y'.repeat(600)), text('a', grown)]), full)
    expect([0, 1, 2].map(file => incr.tree.fileEntry(file).base)).toEqual([null, 1, 0])
    expect(incr.stored.blocks).toBe(2)
    const same = await store(input([text('a', grown), text('b', 'y'.repeat(600)), text('new', 'n')]), incr)
    expect([same.stored.blocks, same.frames.length]).toEqual([0, 0])
  })

  test('lets no two files continue the same one, whatever the source says', async () => {
    const full = await store(input([text('a', 'a'), text('b', 'b')]))
    const describe = (entry: TreeEntry) => ({ ...entry, base: entry.path === 'c' ? 99 : 1 })
    const incr = await store(input([text('x', 'b'), text('b', 'b'), text('c', 'c')], { describe }), full)
    expect([0, 1, 2].map(file => incr.tree.fileEntry(file).base)).toEqual([1, null, null])
    expect(incr.stored.blocks).toBe(2)
  })

  test('gives an entry what its source says of it, under another name too', async () => {
    const full = await store(input([text('b', 'same')]))
    const describe = (entry: TreeEntry) => ({ ...entry, path: 'b', mode: 0o640, facts: { ino: 5 } })
    const incr = await store(input([text('a', 'same')], { describe }), full)
    expect(incr.tree.fileEntry(0)).toMatchObject({ path: 'b', mode: 0o640, base: 0, facts: { ino: 5 } })
    expect(incr.stored.blocks).toBe(0)
  })

  test('leaves an entry out of the tree, but a full keeps its bytes in the archive', async () => {
    const made = input([text('secret', 'hidden'), text('a', 'shown')], {
      describe: entry => (entry.path === 'secret' ? null : entry),
    })
    const full = await store(made)
    expect([...full.tree.entries()].map(({ path }) => path)).toEqual(['a'])
    expect(decompress(full.frames).includes('hidden')).toBe(true)
  })

  test('takes files over unread, and their digests', async () => {
    const directory = temporaryDirectory()
    const full = await store(input([text('a', 'a'.repeat(1500)), text('b', 'b'.repeat(1500))]), null, directory)
    const list = [carried({ path: 'moved/b', size: 1500 }, 1), carried({ path: 'a', size: 1500 }, 0)]
    const incr = await store(input([text('c', 'c')], { carried: list }), full, directory)
    expect(incr.stored).toEqual({ blocks: 1, rows: 7, entries: 3, files: 3, bytes: 3001 })
    const again = await store(
      input([text('moved/b', 'b'.repeat(1500)), text('a', 'a'.repeat(1500)), text('c', 'c')]),
      incr,
    )
    expect(again.stored.blocks).toBe(0)
    expect(again.table.imageDigest()).toBe(incr.table.imageDigest())
  })

  test.each([
    ['of another size', [carried({ path: 'a', size: 4 }, 0)]],
    ['that is not there', [carried({ path: 'a', size: 5 }, 1)]],
    ['twice', [carried({ path: 'a', size: 5 }, 0), carried({ path: 'b', size: 5 }, 0)]],
  ])('takes no file over %s', async (_, list) => {
    const full = await store(input([text('a', '12345')]))
    await expect(store(input([], { carried: list }), full)).rejects.toMatchObject({ code: 'tree_carry_impossible' })
  })

  test('takes nothing over in a full', async () => {
    const made = input([], { carried: [carried({ path: 'a' }, 0)] })
    await expect(store(made)).rejects.toMatchObject({ code: 'nothing_to_carry' })
  })

  test.each<[string, Member[], Partial<TreeInput>]>([
    ['a path twice', [text('a', '1'), text('a', '2')], {}],
    ['a file below a link', [{ name: 'a', type: '2', link: '/etc' }, text('a/passwd', 'x')], {}],
    ['a hard link to a file that was left out', [{ name: 'a', type: '1', link: 'gone' }], {}],
    ['an entry of another size', [text('a', '1')], { describe: entry => ({ ...entry, size: 2 }) }],
    ['an entry of another type', [text('a', '1')], { describe: entry => ({ ...entry, type: 'directory' }) }],
    ['an entry with a path that leaves', [text('a', '1')], { describe: entry => ({ ...entry, path: '../a' }) }],
    ['an entry with endless facts', [text('a', '1')], { describe: e => ({ ...e, facts: { x: 'y'.repeat(300_000) } }) }],
  ])('fails with %s', async (_, members, change) => {
    await expect(store(input(members, change))).rejects.toMatchObject({
      kind: 'failed',
      code: 'tree_entry_impossible',
    })
  })

  test('fails with the source, and when it is interrupted', async () => {
    async function* broken(): AsyncGenerator<Uint8Array, void, void> {
      yield member(text('a', 'x'))
      throw new Error('the source broke')
    }
    await expect(store(plainInput(broken(), BLOCK))).rejects.toThrow('the source broke')
    const cut = inPieces(member(text('a', 'x')), [100])
    await expect(store(plainInput(cut, BLOCK))).rejects.toMatchObject({ code: 'archive_unreadable' })
    const table = DigestTable.create(join(temporaryDirectory(), 't'), 0)
    const target = { part: new MemorySink(), index: new MemorySink(), tree: new MemorySink(), table }
    const work = { ...quiet, signal: AbortSignal.abort() }
    const attempt = storeTree(input([text('a', 'x')]), null, target, { pool, digest: xxh, work })
    await expect(attempt).rejects.toThrow(/abort/)
    table.close()
  })

  test('puts blocks of any size into frames of about a mebibyte', async () => {
    const content = Buffer.alloc(3_000_001, 'abc')
    for (const blockSize of [512, 8192, 131_072, 2 * 1024 * 1024]) {
      const tar = inPieces(archive(member({ name: 'a', content }), member(text('b', 'b'))), [65_536, 100])
      const full = await store(plainInput(tar, blockSize))
      expect(full.stored.rows).toBe(Math.ceil(content.length / blockSize) + 1)
      expect(full.stored.blocks).toBe(full.stored.rows)
    }
  })
})
