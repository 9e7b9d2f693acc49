import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { decompress } from 'zstd-napi'
import { readBlockIndex } from '../../../src/image/block-index.js'
import { chainTable } from '../../../src/image/restore-file.js'
import { restoreTree } from '../../../src/image/tree/restore-tree.js'
import { ChainVerifier } from '../../../src/image/verify-chain.js'
import { WorkerPool } from '../../../src/image/workers/pool.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { quiet, readerOf } from '../parts.js'
import { archiveOf, filesById, inputOf, layOut, looked, type Model, type ModelFile } from './histories.js'
import { archiveFile, plainInput, storeTreeBackup, type TreeBackup } from './tree-store.js'

let pool: WorkerPool
beforeAll(() => {
  pool = WorkerPool.start(new AbortController().signal, 2)
})
afterAll(() => pool.stop())

const BLOCK = 512

/** Names of all kinds: deep ones, long ones that need pax or GNU headers, other scripts, white space. */
const paths = [
  'a',
  'b',
  'base/1/1234',
  'base/1/1234_fsm',
  'dir/x y',
  'dir/ünïcode-日本',
  `long/${'n'.repeat(90)}/${'f'.repeat(40)}`,
]
const links = ['link', 'dir/link', 'base/link']

const size = fc.oneof(fc.constantFrom(0, 1, 511, 512, 513, 1024), fc.nat({ max: 6000 }))
const edit = fc.record({
  what: fc.constantFrom('write', 'write', 'patch', 'append', 'cut', 'remove', 'rename', 'swap', 'symlink', 'hardlink'),
  path: fc.constantFrom(...paths),
  other: fc.constantFrom(...paths),
  link: fc.constantFrom(...links),
  size,
  at: fc.nat({ max: 6000 }),
  mode: fc.constantFrom(0o600, 0o644, 0o755, 0o4755),
  zeros: fc.boolean(),
})
type Edit = Parameters<Parameters<typeof edit.map>[0]>[0]
const step = fc.record({
  edits: fc.array(edit, { maxLength: 6 }),
  diff: fc.boolean(),
  carry: fc.nat({ max: 255 }),
  format: fc.constantFrom('ustar', 'pax', 'gnu'),
})

let ids = 0

function apply(model: Model, { what, path, other, link, size: length, at, mode, zeros }: Edit): void {
  const { files, symlinks, hardlinks } = model
  const file = files.get(path)
  const mtime = 1_600_000_000 + at
  const changed = (one: ModelFile, content: Buffer) => files.set(path, { ...one, content, mtime })
  const drop = (name: string) => {
    files.delete(name)
    for (const [from, to] of hardlinks) if (to === name) hardlinks.delete(from)
  }
  if (what === 'write') {
    ids += 1
    const content = zeros ? Buffer.concat([Buffer.alloc(length), Buffer.from('end')]) : randomBytes(length)
    drop(path)
    files.set(path, { id: ids, content, mode, mtime, sparse: zeros })
  } else if (what === 'symlink') symlinks.set(link, at % 2 === 0 ? other.slice(0, 60) : '/nowhere/../x')
  else if (what === 'remove') {
    drop(path)
    symlinks.delete(link)
    hardlinks.delete(`${link}-hard`)
  } else if (file === undefined) return
  else if (what === 'hardlink') hardlinks.set(`${link}-hard`, path)
  else if (what === 'append') changed(file, Buffer.concat([file.content, randomBytes(length)]))
  else if (what === 'cut') changed(file, file.content.subarray(0, at))
  else if (what === 'patch') {
    const content = Buffer.from(file.content)
    content.fill(at & 255, Math.min(at, content.length))
    changed(file, content)
  } else if (what === 'rename' && other !== path) {
    drop(path)
    drop(other)
    files.set(other, file)
  } else if (what === 'swap') {
    const second = files.get(other)
    if (second === undefined) return
    files.set(path, second)
    files.set(other, file)
  }
}

function copyOf({ files, symlinks, hardlinks }: Model): Model {
  return { files: new Map(files), symlinks: new Map(symlinks), hardlinks: new Map(hardlinks) }
}

interface Captured extends TreeBackup {
  model: Model
}

/** Stores what lies in `root`, with some of the unchanged files unread. */
async function capture(
  model: Model,
  parent: Captured | null,
  options: { root: string; carry: number; format: string; directory: string },
): Promise<Captured> {
  const known = filesById(parent?.tree ?? null)
  const carried = new Map<string, number>()
  for (const [at, [path, file]] of [...model.files].entries()) {
    const base = known.get(file.id)
    const linked = [...model.hardlinks.values()].includes(path)
    const same = [...(parent?.model.files.values() ?? [])].some(
      old => old.id === file.id && old.content === file.content,
    )
    if (base !== undefined && same && !linked && (options.carry & (1 << at)) !== 0) carried.set(path, base)
  }
  const archive = join(options.directory, 'archive.tar')
  archiveOf(options.root, new Set(carried.keys()), archive, options.format)
  const before = parent?.tree ?? null
  const input = inputOf(model, { tar: archiveFile(archive, 1000), before, carried, blockSize: BLOCK })
  return { ...(await storeTreeBackup(input, parent, { pool, directory: options.directory })), model }
}

async function restored(chain: readonly TreeBackup[], elsewhere = new Map<string, string>()): Promise<string> {
  const newest = chain.at(-1)
  if (newest === undefined) throw new Error('no chain')
  const directory = mkdtempSync(join(temporaryDirectory(), 'restored-'))
  const members = chain.map(({ member }) => member)
  await restoreTree(members, newest.tree, { directory, elsewhere, owner: () => null }, { pool, work: quiet })
  return directory
}

describe('a chain of tree images', () => {
  test('restores each of its trees exactly, whatever came, went, was renamed, cut or grew', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async steps => {
        const base = temporaryDirectory()
        const model: Model = { files: new Map(), symlinks: new Map(), hardlinks: new Map() }
        let chain: Captured[] = []
        for (const [number, { edits, diff, carry, format }] of steps.entries()) {
          const directory = join(base, String(number))
          mkdirSync(directory)
          const root = join(directory, 'model')
          for (const one of edits) apply(model, one)
          layOut(model, root)
          const parents = diff ? chain.slice(0, 1) : chain
          const made = await capture(copyOf(model), parents.at(-1) ?? null, { root, carry, format, directory })
          chain = [...parents, made]
          expect(looked(await restored(chain))).toEqual(looked(root))
          const members = chain.map(({ member }) => member)
          const table = await chainTable(members, join(directory, 'again'))
          expect(table.imageDigest()).toBe(made.table.imageDigest())
          table.close()
        }
        const verifier = new ChainVerifier(base, { pool, work: quiet })
        for (const [at, { member, table }] of chain.entries()) {
          const parent = chain[at - 1]?.member.id ?? null
          const children = at + 1 < chain.length ? 1 + (at % 2) : 0
          expect(await verifier.check({ ...member, parent, children, imageDigest: table.imageDigest() })).toEqual([])
          table.close()
        }
        verifier.close()
        rmSync(base, { recursive: true })
      }),
      { numRuns: 40 },
    )
  })

  test('stores a full as exactly the archive, its padding too', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(edit, { minLength: 1, maxLength: 8 }),
        fc.constantFrom('ustar', 'pax', 'gnu'),
        async (edits, format) => {
          const directory = temporaryDirectory()
          const model: Model = { files: new Map(), symlinks: new Map(), hardlinks: new Map() }
          for (const one of edits) apply(model, one)
          layOut(model, join(directory, 'model'))
          const archive = join(directory, 'archive.tar')
          archiveOf(join(directory, 'model'), new Set(), archive, format)
          const full = await storeTreeBackup(plainInput(archiveFile(archive, 777), BLOCK), null, { pool, directory })
          const plain: Buffer[] = []
          let at = 0
          for await (const record of readBlockIndex(readerOf(full.index), full.tree.layout)) {
            plain.push(decompress(full.frames.subarray(at, at + record.storedLength)))
            at += record.storedLength
          }
          expect(Buffer.concat(plain).equals(readFileSync(archive))).toBe(true)
          rmSync(directory, { recursive: true })
        },
      ),
      { numRuns: 25 },
    )
  })
})
