import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { decompress } from 'zstd-napi'
import { TaskExecutor } from '../../../src/image/workers/execute.js'
import type { Packed, Stored } from '../../../src/image/workers/tasks.js'
import { xxh } from '../parts.js'

function own(bytes: Buffer): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(bytes)
}

function storeTask(contents: Buffer[]) {
  const frames = contents.map(bytes => ({
    bytes: [own(bytes.subarray(0, 100)), own(bytes.subarray(100))],
    length: bytes.length,
    runs: [{ offset: 0, length: bytes.length, blockSize: 512, count: Math.ceil(bytes.length / 512) }],
  }))
  return { kind: 'store' as const, digest: xxh, level: 1, frames }
}

function opened(stored: Stored): Buffer[] {
  const plain: Buffer[] = []
  let at = 0
  for (const length of stored.lengths) {
    plain.push(decompress(stored.stored.subarray(at, at + length)))
    at += length
  }
  expect(at).toBe(stored.stored.length)
  return plain
}

describe('a worker', () => {
  test('keeps tasks apart that wait for its digester together', async () => {
    const executor = new TaskExecutor()
    const contents = Array.from({ length: 8 }, (_, at) => Buffer.alloc(5000 + at, at + 1))
    const results = await Promise.all(contents.map(bytes => executor.execute(storeTask([bytes]))))
    for (const [at, result] of results.entries()) {
      expect(opened(result as Stored)[0]?.equals(contents[at] ?? Buffer.alloc(0))).toBe(true)
    }
    const digests = results.map(result => Buffer.from((result as Stored).digests).toString('hex'))
    expect(new Set(digests.map(text => text.slice(0, 32))).size).toBe(8)
  })

  test('returns whole frames when its buffer has to grow for them', async () => {
    const executor = new TaskExecutor()
    for (const length of [1, 300, 70_000, 10, 1_000_000, 5]) {
      const bytes = randomBytes(length)
      const packed = (await executor.execute({ kind: 'pack', level: 1, bytes: own(bytes) })) as Packed
      expect(decompress(packed.stored).equals(bytes), String(length)).toBe(true)
    }
  })

  test('returns several frames of one task, growing in the middle', async () => {
    const executor = new TaskExecutor()
    const contents = [200, 90_000, 101, 400_000].map(length => randomBytes(length))
    const result = (await executor.execute(storeTask(contents))) as Stored
    expect(opened(result).map(bytes => bytes.length)).toEqual(contents.map(bytes => bytes.length))
    expect(Buffer.concat(opened(result)).equals(Buffer.concat(contents))).toBe(true)
  })
})
