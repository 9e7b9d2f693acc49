import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NexusError } from '../../src/errors.js'
import { BlockIndexWriter, type FrameRecord, readBlockIndex } from '../../src/image/block-index.js'
import { listedFiles } from '../../src/image/file-layout.js'
import { DIGEST_BYTES } from '../../src/image/types.js'
import { MemorySink, readerOf } from './parts.js'

const files = [
  { size: 100_000, block_size: 4096 },
  { size: 700, block_size: 512 },
  { size: 5_000_000_000_000, block_size: 4096 },
]

const frame: FrameRecord = {
  storedLength: 321,
  plainLength: 4096 * 3 + 700 + 512,
  runs: [
    { file: 0, first: 2, count: 3, offset: 512 },
    { file: 1, first: 0, count: 2, offset: 512 + 3 * 4096 },
  ],
  digests: Uint8Array.from({ length: 5 * DIGEST_BYTES }, (_, at) => at),
}
const high: FrameRecord = {
  storedLength: 1,
  plainLength: 4096,
  runs: [{ file: 2, first: 1_220_703_124, count: 1, offset: 0 }],
  digests: new Uint8Array(DIGEST_BYTES),
}

async function written(records: FrameRecord[]): Promise<Buffer> {
  const sink = new MemorySink()
  const writer = new BlockIndexWriter(sink)
  await writer.begin()
  for (const record of records) await writer.add(record)
  await writer.end()
  return sink.bytes
}

/** Reads an index, and fails when more is asked for at once than the bounds of the format allow. */
async function read(bytes: Buffer): Promise<FrameRecord[]> {
  const reader = readerOf(bytes)
  const bounded = {
    ...reader,
    read(length: number) {
      if (length > 2 * 1024 * 1024) throw new Error(`${length} bytes asked for at once`)
      return reader.read(length)
    },
  }
  const records: FrameRecord[] = []
  for await (const record of readBlockIndex(bounded, listedFiles(files))) records.push(record)
  return records
}

async function readOrRefuse(bytes: Buffer): Promise<'read' | 'refused'> {
  try {
    await read(bytes)
    return 'read'
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'damage') return 'refused'
    throw error
  }
}

describe('a block index', () => {
  test('is read as it was written', async () => {
    expect(await read(await written([frame, high]))).toEqual([frame, high])
    expect(await read(await written([]))).toEqual([])
  })

  test('is refused when it is cut anywhere or goes on after its end', async () => {
    const good = await written([frame, high])
    for (let length = 0; length < good.length; length += 1) {
      expect(await readOrRefuse(good.subarray(0, length)), String(length)).toBe('refused')
    }
    expect(await readOrRefuse(Buffer.concat([good, Buffer.from([0])]))).toBe('refused')
  })

  test('is refused or read, and nothing else, when bytes of it are changed', async () => {
    const good = await written([frame, high, frame])
    const changes = fc.array(fc.tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 })), {
      minLength: 1,
      maxLength: 6,
    })
    await fc.assert(
      fc.asyncProperty(changes, async list => {
        const bytes = Buffer.from(good)
        for (const [at, byte] of list) bytes[at] = byte
        expect(['read', 'refused']).toContain(await readOrRefuse(bytes))
      }),
      { numRuns: 1500 },
    )
  })

  test('is refused when it is random bytes, after a good beginning too', async () => {
    const head = (await written([frame])).subarray(0, 16)
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), async (bytes, withHead) => {
        expect(await readOrRefuse(withHead ? Buffer.concat([head, bytes]) : Buffer.from(bytes))).toBe('refused')
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    ['a frame longer than any', { storedLength: 18 * 1024 * 1024 }],
    ['a plain length beyond the bound', { plainLength: 17 * 1024 * 1024 }],
    ['an empty frame', { plainLength: 0 }],
    ['a file that is not there', { runs: [{ file: 3, first: 0, count: 5, offset: 0 }] }],
    ['an empty run', { runs: [{ file: 0, first: 0, count: 0, offset: 0 }], digests: new Uint8Array(0) }],
    ['blocks beyond the end of the file', { runs: [{ file: 0, first: 21, count: 5, offset: 0 }] }],
    ['a block number that is no safe integer', { runs: [{ file: 0, first: 2 ** 53, count: 1, offset: 0 }] }],
    ['blocks outside of the frame', { runs: [{ file: 0, first: 0, count: 3, offset: 2000 }] }],
    [
      'blocks that overlap',
      {
        runs: [
          { file: 0, first: 0, count: 2, offset: 0 },
          { file: 0, first: 5, count: 1, offset: 8191 },
        ],
      },
    ],
    [
      'more runs than the bound',
      { runs: Array.from({ length: 65_537 }, () => ({ file: 1, first: 1, count: 1, offset: 0 })) },
    ],
  ])('is refused when it names %s', async (_, change) => {
    expect(await readOrRefuse(await written([{ ...frame, ...change }]))).toBe('refused')
  })
})
