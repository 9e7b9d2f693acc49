import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { decompress } from 'zstd-napi'
import { readBlockIndex, runBytes } from '../../src/image/block-index.js'
import { listedFiles } from '../../src/image/file-layout.js'
import { chainTable } from '../../src/image/restore-file.js'
import type { Frame, Span } from '../../src/image/types.js'
import { ChainVerifier } from '../../src/image/verify-chain.js'
import { WorkerPool } from '../../src/image/workers/pool.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { quiet, readerOf, sha, store, xxh } from './parts.js'

let pool: WorkerPool
beforeAll(() => {
  pool = WorkerPool.start(new AbortController().signal, 2)
})
afterAll(() => pool.stop())

const BLOCK = 8192

/** A stream as tar makes one: a header before each file, padding after it, blocks of 8 KiB between. */
function tarLike(files: Buffer[], frameBytes: number): { frames: Frame[]; stream: Buffer } {
  const spans: Span[] = []
  let row = 0
  for (const [file, bytes] of files.entries()) {
    spans.push(raw(Buffer.alloc(512, file + 1)))
    for (let at = 0; at < bytes.length; at += 2 * BLOCK) {
      const piece = Uint8Array.from(bytes.subarray(at, at + 2 * BLOCK))
      const count = Math.ceil(piece.length / BLOCK)
      const run = { file, first: at / BLOCK, count, blockSize: BLOCK, row, before: { row, count } }
      spans.push({ from: piece, length: piece.length, run })
      row += count
    }
    if (bytes.length % 512 !== 0) spans.push(raw(Buffer.alloc(512 - (bytes.length % 512))))
  }
  spans.push(raw(Buffer.alloc(1024)))
  const frames: Frame[] = []
  let open: Frame = []
  for (const span of spans) {
    open.push(span)
    if (open.reduce((sum, { length }) => sum + length, 0) < frameBytes) continue
    frames.push(open)
    open = []
  }
  if (open.length > 0) frames.push(open)
  return { frames, stream: Buffer.concat(spans.map(({ from }) => Buffer.from(from as Uint8Array))) }
}

function raw(bytes: Uint8Array): Span {
  return { from: Uint8Array.from(bytes), length: bytes.length, run: null }
}

function manifestFiles(files: Buffer[]) {
  return files.map((bytes, at) => ({ path: `f${at}`, size: bytes.length, block_size: BLOCK }))
}

const trees = fc
  .array(fc.tuple(fc.nat({ max: 60_000 }), fc.nat({ max: 255 })), { minLength: 1, maxLength: 6 })
  .map(list => list.map(([length, byte]) => Buffer.from(Array.from({ length }, (_, at) => (at * 7 + byte) & 0xff))))

/** Every block that an index and its frames give, by file and number. */
async function blocksOf(index: Buffer, part: Buffer, files: ReturnType<typeof manifestFiles>) {
  const blocks = new Map<string, string>()
  const layout = listedFiles(files)
  let at = 0
  for await (const record of readBlockIndex(readerOf(index), layout)) {
    const plain = decompress(part.subarray(at, at + record.storedLength))
    expect(plain.length).toBe(record.plainLength)
    at += record.storedLength
    for (const run of record.runs) {
      const bytes = plain.subarray(run.offset, run.offset + runBytes(run, layout))
      for (let block = 0; block < run.count; block += 1) {
        blocks.set(
          `${run.file}:${run.first + block}`,
          bytes.subarray(block * BLOCK, (block + 1) * BLOCK).toString('base64'),
        )
      }
    }
  }
  expect(at).toBe(part.length)
  return blocks
}

function cut(files: Buffer[]): Map<string, string> {
  const blocks = new Map<string, string>()
  for (const [file, bytes] of files.entries()) {
    for (let at = 0; at < bytes.length; at += BLOCK)
      blocks.set(`${file}:${at / BLOCK}`, bytes.subarray(at, at + BLOCK).toString('base64'))
  }
  return blocks
}

describe('a stream of several files', () => {
  test('is stored whole: the part decompresses to it and the index gives every block of every file', async () => {
    await fc.assert(
      fc.asyncProperty(
        trees,
        fc.integer({ min: 600, max: 50_000 }),
        fc.constantFrom(xxh, sha),
        async (files, size, digest) => {
          const { frames, stream } = tarLike(files, size)
          const stored = await store(frames, manifestFiles(files), { pool, digest, directory: temporaryDirectory() })
          const plain: Buffer[] = []
          let at = 0
          for await (const record of readBlockIndex(readerOf(stored.index), listedFiles(manifestFiles(files)))) {
            plain.push(decompress(stored.frames.subarray(at, at + record.storedLength)))
            at += record.storedLength
          }
          expect(Buffer.concat(plain).equals(stream)).toBe(true)
          expect(await blocksOf(stored.index, stored.frames, manifestFiles(files))).toEqual(cut(files))
        },
      ),
      { numRuns: 40 },
    )
  })

  test('gives only changed blocks to an increment, and index and verifier find the image digest of all files', async () => {
    await fc.assert(
      fc.asyncProperty(trees, fc.nat(), fc.nat(), async (files, which, where) => {
        const directory = temporaryDirectory()
        const full = await store(tarLike(files, 20_000).frames, manifestFiles(files), { pool, digest: xxh, directory })
        const changed = files.map(bytes => Buffer.from(bytes))
        const victim = changed[which % changed.length]
        if (victim !== undefined && victim.length > 0)
          victim.writeUInt8(victim.readUInt8(where % victim.length) ^ 1, where % victim.length)
        const incr = await store(tarLike(changed, 20_000).frames, manifestFiles(changed), {
          pool,
          digest: xxh,
          directory,
          before: full.table,
        })
        const before = cut(files)
        const expected = new Map([...cut(changed)].filter(([key, block]) => before.get(key) !== block))
        expect(await blocksOf(incr.index, incr.frames, manifestFiles(changed))).toEqual(expected)
        const table = await chainTable(
          [full.member, incr.member],
          join(directory, `t${which}-${where}-${Math.random()}`),
        )
        expect(table.imageDigest()).toBe(incr.table.imageDigest())
        table.close()
        const verifier = new ChainVerifier(temporaryDirectory(), { pool, work: quiet })
        const digests = { full: full.table.imageDigest(), incr: incr.table.imageDigest() }
        expect(await verifier.check({ ...full.member, parent: null, children: 1, imageDigest: digests.full })).toEqual(
          [],
        )
        const child = { ...incr.member, parent: full.member.id, children: 0, imageDigest: digests.incr }
        expect(await verifier.check(child)).toEqual([])
        verifier.close()
      }),
      { numRuns: 25 },
    )
  })

  test('may hold a hundred thousand files of a byte: its index stays within what a reader takes', async () => {
    const files = Array.from({ length: 100_000 }, (_, at) => ({ path: `f${at}`, size: 1, block_size: BLOCK }))
    const frames = function* (value: number): Generator<Frame> {
      for (let file = 0; file < files.length; file += 1000) {
        yield Array.from({ length: 1000 }, (_, at) => ({
          from: Uint8Array.from([value]),
          length: 1,
          run: {
            file: file + at,
            first: 0,
            count: 1,
            blockSize: BLOCK,
            row: file + at,
            before: { row: file + at, count: 1 },
          },
        }))
      }
    }
    const settings = { pool, digest: xxh, directory: temporaryDirectory() }
    const full = await store(frames(1), files, settings)
    const incr = await store(frames(2), files, { ...settings, before: full.table })
    expect(incr.blocks).toBe(files.length)
    let blocks = 0
    for await (const record of readBlockIndex(readerOf(incr.index), listedFiles(files))) blocks += record.runs.length
    expect(blocks).toBe(files.length)
  })

  test('of random bytes takes hardly more room than they do', async () => {
    const files = [randomBytes(300_000)]
    const { frames, stream } = tarLike(files, 100_000)
    const stored = await store(frames, manifestFiles(files), { pool, digest: xxh, directory: temporaryDirectory() })
    expect(stored.frames.length).toBeLessThan(stream.length + 1000)
  })
})
