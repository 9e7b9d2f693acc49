import { execFileSync } from 'node:child_process'
import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { allFrames, type FileImage, someFrames } from '../../src/image/file-image.js'
import { chainTable, DamagedChain, restoreFile } from '../../src/image/restore-file.js'
import { ChainVerifier } from '../../src/image/verify-chain.js'
import { WorkerPool } from '../../src/image/workers/pool.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { partOf, quiet, type StoredImage, sha, store, xxh } from './parts.js'

let pool: WorkerPool
beforeAll(() => {
  pool = WorkerPool.start(new AbortController().signal, 2)
})
afterAll(() => pool.stop())

/** A file as an image, read through a descriptor as a database is. */
function fileImage(bytes: Buffer, blockSize: number): { image: FileImage; fd: number } {
  const path = join(temporaryDirectory(), 'image')
  writeFileSync(path, bytes)
  const fd = openSync(path, 'r')
  const extents = (first: number, count: number) => {
    const position = first * blockSize
    return [{ fd, position, length: Math.min(position + count * blockSize, bytes.length) - position }]
  }
  return { fd, image: { size: bytes.length, blockSize, extents } }
}

async function restored(chain: StoredImage[], size: number): Promise<Buffer> {
  const path = join(temporaryDirectory(), 'restored')
  const fd = openSync(path, 'wx+')
  try {
    ftruncateSync(fd, size)
    await restoreFile(
      chain.map(({ member }) => member),
      fd,
      { pool, work: quiet },
    )
    return readFileSync(path)
  } finally {
    closeSync(fd)
  }
}

const contents = (max: number) => fc.uint8Array({ minLength: 1, maxLength: max }).map(bytes => Buffer.from(bytes))
const edits = fc.record({
  at: fc.nat({ max: 60_000 }),
  bytes: fc.uint8Array({ maxLength: 3000 }),
  size: fc.oneof(fc.constant(null), fc.nat({ max: 60_000 })),
  diff: fc.boolean(),
  known: fc.boolean(),
})

function edited(image: Buffer, { at, bytes, size }: { at: number; bytes: Uint8Array; size: number | null }): Buffer {
  const next = Buffer.alloc(size ?? image.length)
  image.copy(next)
  Buffer.from(bytes).copy(next, Math.min(at, next.length))
  return next
}

describe('a chain of full, diffs and increments', () => {
  test('restores every one of its images exactly, whatever was edited, grown or shrunk', async () => {
    await fc.assert(
      fc.asyncProperty(
        contents(60_000),
        fc.constantFrom(512, 1024, 4096, 65_536),
        fc.constantFrom(xxh, sha),
        fc.array(edits, { maxLength: 5 }),
        async (first, blockSize, digest, history) => {
          const directory = temporaryDirectory()
          const files = (size: number) => [{ path: 'a', size, block_size: blockSize }]
          let bytes: Buffer = first
          const base = fileImage(bytes, blockSize)
          const full = await store(allFrames(base.image, 8192), files(bytes.length), { pool, digest, directory })
          closeSync(base.fd)
          let chain = [full]
          expect((await restored(chain, bytes.length)).equals(bytes)).toBe(true)
          for (const edit of history) {
            const next = edited(bytes, edit)
            const parents = edit.diff ? [full] : chain
            const parent = parents.at(-1) ?? full
            const { image, fd } = fileImage(next, blockSize)
            // As the log names them: every block that could differ, some that do not.
            const changed = Uint32Array.from({ length: Math.ceil(next.length / blockSize) }, (_, block) => block)
            const frames = edit.known ? someFrames(image, changed, 4096) : allFrames(image, 16_384)
            const stored = await store(frames, files(next.length), { pool, digest, directory, before: parent.table })
            closeSync(fd)
            chain = [...parents, stored]
            bytes = next
            expect((await restored(chain, bytes.length)).equals(bytes)).toBe(true)
            const table = await chainTable(
              chain.map(({ member }) => member),
              join(directory, `t${Math.random()}`),
            )
            expect(table.imageDigest()).toBe(stored.table.imageDigest())
            table.close()
          }
        },
      ),
      { numRuns: 40 },
    )
  })

  test('stores nothing when nothing changed and only what changed otherwise', async () => {
    const directory = temporaryDirectory()
    const bytes = Buffer.alloc(100 * 4096, 3)
    const files = [{ path: 'a', size: bytes.length, block_size: 4096 }]
    const settings = { pool, digest: xxh, directory }
    const full = await store(allFrames(fileImage(bytes, 4096).image), files, settings)
    expect(full.blocks).toBe(100)
    const same = await store(allFrames(fileImage(bytes, 4096).image), files, { ...settings, before: full.table })
    expect([same.blocks, same.frames.length]).toEqual([0, 0])
    bytes[4096 * 7] = 0
    bytes[4096 * 50 + 9] = 0
    const two = await store(allFrames(fileImage(bytes, 4096).image), files, { ...settings, before: full.table })
    expect(two.blocks).toBe(2)
  })

  test('a full is the standard file to the zstd program', async () => {
    const bytes = Buffer.concat([Buffer.alloc(3_000_000, 1), Buffer.from('short last block')])
    const files = [{ path: 'a', size: bytes.length, block_size: 4096 }]
    const full = await store(allFrames(fileImage(bytes, 4096).image), files, {
      pool,
      digest: xxh,
      directory: temporaryDirectory(),
    })
    const plain = execFileSync('zstd', ['-d', '-c'], { input: full.frames, maxBuffer: 1e8 })
    expect(plain.equals(bytes)).toBe(true)
  })
})

describe('a damaged chain', () => {
  async function chain() {
    const directory = temporaryDirectory()
    const bytes = Buffer.from(Array.from({ length: 8192 }, (_, at) => (at * at) & 0xff))
    const files = [{ path: 'a', size: bytes.length, block_size: 1024 }]
    const full = await store(allFrames(fileImage(bytes, 1024).image, 4096), files, { pool, digest: xxh, directory })
    bytes[5000] = 77
    const incr = await store(allFrames(fileImage(bytes, 1024).image), files, {
      pool,
      digest: xxh,
      directory,
      before: full.table,
    })
    return { full, incr, size: bytes.length }
  }

  test('is never restored: any flipped or missing byte of any part is found and its member named', async () => {
    const { full, incr, size } = await chain()
    const parts = [
      [full, 'frames', full.frames],
      [full, 'index', full.index],
      [incr, 'frames', incr.frames],
      [incr, 'index', incr.index],
    ] as const
    for (const [image, role, good] of parts) {
      const positions = Array.from({ length: 40 }, (_, n) => Math.floor((n * good.length) / 40))
      for (const bad of [
        ...positions.map(at =>
          Buffer.concat([good.subarray(0, at), Buffer.from([(good[at] ?? 0) ^ 1]), good.subarray(at + 1)]),
        ),
        good.subarray(0, -1),
        good.subarray(0, 0),
        Buffer.concat([good, Buffer.from([0])]),
      ]) {
        const part = { ...image.member[role], open: partOf(role, Buffer.from(bad)).open }
        const broken = { ...image, member: { ...image.member, [role]: part } }
        const attempt = restored(
          [full, incr].map(one => (one === image ? broken : one)),
          size,
        )
        await expect(attempt).rejects.toBeInstanceOf(DamagedChain)
        await expect(attempt).rejects.toMatchObject({ kind: 'damage', damage: [{ id: image.member.id }] })
      }
    }
  })

  test('is never restored when a part cannot be found', async () => {
    const { full, incr, size } = await chain()
    const open = async () => {
      throw Object.assign(new Error('gone'), { code: 'ENOENT' })
    }
    const member = { ...incr.member, frames: { ...incr.member.frames, open } }
    await expect(restored([full, { ...incr, member }], size)).rejects.toMatchObject({
      damage: [{ id: incr.member.id, findings: [{ part: 'frames', problem: 'is missing' }] }],
    })
  })

  test('is never restored when blocks are missing', async () => {
    const { incr, size } = await chain()
    await expect(restored([incr], size)).rejects.toThrow(/does not hold every block/)
    await expect(restored([], 0)).rejects.toThrow(/nothing to restore/)
  })

  test('is told apart by the verifier: whose bytes, and whose image', async () => {
    const { full, incr } = await chain()
    const verified = (image: StoredImage, parent: string | null, children: number, imageDigest: string) => {
      return { ...image.member, parent, children, imageDigest }
    }
    const verifier = new ChainVerifier(temporaryDirectory(), { pool, work: quiet })
    const digest = incr.table.imageDigest()
    expect(await verifier.check(verified(full, null, 3, full.table.imageDigest()))).toEqual([])
    expect(await verifier.check(verified(incr, full.member.id, 0, digest))).toEqual([])
    expect(
      await verifier.check({ ...verified(incr, full.member.id, 0, full.table.imageDigest()), id: 'other' }),
    ).toMatchObject([{ problem: expect.stringContaining('image digest') }])
    const frames = { ...incr.member.frames, open: partOf('frames', Buffer.from(incr.frames).fill(0, 9)).open }
    const findings = await verifier.check({ ...verified(incr, full.member.id, 0, digest), id: 'third', frames })
    expect(findings.map(({ part }) => part)).toContain('frames')
    verifier.close()
  })
})
