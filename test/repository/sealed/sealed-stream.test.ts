import { createHash, randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openingReader } from '../../../src/repository/sealed/opening-reader.js'
import { HEADER_BYTES, plainSize, sealedSize, TAG_BYTES } from '../../../src/repository/sealed/sealed-layout.js'
import { type SealingKey, sealingWriter } from '../../../src/repository/sealed/sealing-writer.js'
import { memoryPart, memoryReader } from './memory-part.js'

const frameBytes = 32
const stride = frameBytes + TAG_BYTES
const sealing: SealingKey = { key: randomBytes(32), context: 'here' }

async function seal(pieces: readonly Uint8Array[], how: SealingKey = sealing): Promise<Buffer> {
  const part = memoryPart()
  const writer = sealingWriter(part.writer, how, { frameBytes })
  for (const piece of pieces) await writer.write(piece)
  const { bytes, sha256 } = await writer.close()
  expect(bytes).toBe(part.bytes().length)
  expect(sha256).toBe(createHash('sha256').update(part.bytes()).digest('hex'))
  return part.bytes()
}

async function open(sealed: Buffer, how: SealingKey = sealing, step = 1 << 20): Promise<Buffer> {
  const reader = await openingReader(memoryReader(sealed), how, 'part')
  const pieces: Buffer[] = []
  for (;;) {
    const piece = await reader.read(step)
    if (piece.length === 0) break
    pieces.push(piece)
  }
  const plain = Buffer.concat(pieces)
  expect(plain.length).toBe(reader.size)
  expect(await reader.storedSha256()).toBe(createHash('sha256').update(sealed).digest('hex'))
  return plain
}

const damaged = { kind: 'damage', code: 'sealed_damaged' }

describe('a sealed stream', () => {
  it('gives back what was written, whatever the sizes of writes and reads', async () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(pieces, fc.integer({ min: 1, max: 100 }), async (written, step) => {
        const sealed = await seal(written)
        const plain = Buffer.concat(written)
        expect(sealed.length).toBe(sealedSize(plain.length, frameBytes))
        expect(plainSize(sealed.length, frameBytes)).toBe(plain.length)
        expect(await open(sealed, sealing, step)).toEqual(plain)
      }),
    )
  })

  it('is read here and there, and only there damage is met', async () => {
    const plain = Buffer.from(Array.from({ length: 200 }, (_, at) => at))
    const sealed = await seal([plain])
    const last = sealed.length - 1
    const harmed = Buffer.from(sealed)
    harmed.writeUInt8(harmed.readUInt8(last) ^ 1, last)
    const reader = await openingReader(memoryReader(harmed), sealing, 'part')
    for (const [from, length] of [
      [0, 10],
      [frameBytes - 1, 2],
      [frameBytes, frameBytes],
      [100, 50],
      [1, 120],
    ] as const) {
      expect(await reader.readAt(from, length)).toEqual(plain.subarray(from, from + length))
    }
    await expect(reader.readAt(190, 10)).rejects.toMatchObject(damaged)
    expect(await reader.read(10)).toEqual(plain.subarray(0, 10))
    const whole = await openingReader(memoryReader(sealed), sealing, 'part')
    expect(await whole.readAt(190, 100)).toEqual(plain.subarray(190))
    expect(await whole.readAt(200, 1)).toHaveLength(0)
  })

  it('knows which sizes no sealed file has', () => {
    const possible = new Set(Array.from({ length: 200 }, (_, plain) => sealedSize(plain, frameBytes)))
    for (let size = 0; size < 200; size += 1) {
      expect(plainSize(size, frameBytes) !== undefined, String(size)).toBe(possible.has(size))
    }
  })

  it.each([
    0,
    1,
    frameBytes - 1,
    frameBytes,
    frameBytes + 1,
    3 * frameBytes,
    3 * frameBytes + 5,
  ])('of %i bytes does not open when it was cut anywhere', async length => {
    const sealed = await seal([randomBytes(length)])
    for (let end = 0; end < sealed.length; end += 1) {
      await expect(open(sealed.subarray(0, end)), `cut to ${end}`).rejects.toMatchObject(damaged)
    }
  })

  it('does not open with any bit of any byte flipped', async () => {
    const sealed = await seal([randomBytes(2 * frameBytes + 7)])
    for (let at = 0; at < sealed.length; at += 1) {
      const changed = Buffer.from(sealed)
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
      await expect(open(changed), `byte ${at}`).rejects.toMatchObject(damaged)
    }
  })

  it('does not open when frames were dropped, doubled, or put in another order', async () => {
    const sealed = await seal([randomBytes(3 * frameBytes)])
    const header = sealed.subarray(0, HEADER_BYTES)
    const frames = [0, 1, 2].map(number =>
      sealed.subarray(HEADER_BYTES + number * stride, HEADER_BYTES + (number + 1) * stride),
    )
    const orders = [
      [],
      [0],
      [1],
      [2],
      [0, 1],
      [0, 2],
      [1, 2],
      [1, 0, 2],
      [0, 2, 1],
      [2, 1, 0],
      [0, 0, 1, 2],
      [0, 1, 1, 2],
      [0, 1, 2, 2],
      [0, 1, 2, 0],
    ]
    for (const order of orders) {
      const changed = Buffer.concat([header, ...order.map(number => frames[number] ?? Buffer.alloc(0))])
      await expect(open(changed), order.join()).rejects.toMatchObject(damaged)
    }
    expect(await open(Buffer.concat([header, ...frames]))).toHaveLength(3 * frameBytes)
  })

  it('does not open as another file, nor with another key', async () => {
    const sealed = await seal([randomBytes(100)])
    await expect(open(sealed, { ...sealing, context: 'there' })).rejects.toMatchObject(damaged)
    await expect(open(sealed, { ...sealing, key: randomBytes(32) })).rejects.toMatchObject(damaged)
  })

  it('takes no frame of another file of the same key', async () => {
    const [one, other] = [await seal([randomBytes(100)]), await seal([randomBytes(100)], { ...sealing, context: 'b' })]
    const mixed = Buffer.concat([one.subarray(0, HEADER_BYTES + stride), other.subarray(HEADER_BYTES + stride)])
    await expect(open(mixed)).rejects.toMatchObject(damaged)
  })

  it('tells the SHA-256 of everything stored also when it does not open', async () => {
    const sealed = await seal([randomBytes(500)])
    sealed[HEADER_BYTES + stride] = (sealed[HEADER_BYTES + stride] ?? 0) ^ 1
    const reader = await openingReader(memoryReader(sealed), sealing, 'part')
    await expect(reader.read(500)).rejects.toMatchObject(damaged)
    expect(await reader.storedSha256()).toBe(createHash('sha256').update(sealed).digest('hex'))
  })
})
