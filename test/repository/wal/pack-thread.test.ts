import { randomBytes } from 'node:crypto'
import { describe, expect, it, onTestFinished } from 'vitest'
import { packed, sha256Of, unpacked } from '../../../src/repository/wal/pack.js'
import { type PackThreads, startPacking } from '../../../src/repository/wal/pack-thread.js'

function threads(): PackThreads {
  const packing = startPacking()
  onTestFinished(() => packing.stop())
  return packing
}

/** In shared memory, as a segment is. */
function shared(bytes: Buffer): Buffer {
  const room = Buffer.from(new SharedArrayBuffer(bytes.byteLength))
  bytes.copy(room)
  return room
}

describe('packing on two threads', () => {
  it('gives for each file what one thread gives, whichever thread takes it', async () => {
    const packing = threads()
    const files = Array.from({ length: 7 }, (_, index) =>
      shared(Buffer.concat([Buffer.alloc(100_000, index), randomBytes(1000)])),
    )
    const done = await Promise.all(files.map(file => packing.pack(file)))
    for (const [index, result] of done.entries()) {
      const plain = files[index] ?? Buffer.alloc(0)
      expect(result).toEqual(packed(plain))
      expect(result.sha256).toBe(sha256Of(plain))
      expect(unpacked(result.stored, plain.byteLength).equals(plain)).toBe(true)
    }
  })

  it('uses its thread again for the next file', async () => {
    const packing = threads()
    for (const byte of [1, 2, 3]) {
      const plain = shared(Buffer.alloc(5000, byte))
      expect(await packing.pack(plain)).toEqual(packed(plain))
    }
  })

  it('fails for a file that the thread was at when it ended', async () => {
    const packing = threads()
    const result = packing.pack(shared(randomBytes(64 * 1024 * 1024)))
    const failing = expect(result).rejects.toThrow('the packing thread ended')
    await packing.stop()
    await failing
  })
})
