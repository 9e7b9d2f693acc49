import { randomBytes } from 'node:crypto'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { decompress } from 'zstd-napi'
import { ZEROS } from '../../../src/image/types.js'
import { TaskExecutor } from '../../../src/image/workers/execute.js'
import type {
  Opened,
  OpenTask,
  Packed,
  PlacedPiece,
  Scanned,
  Stored,
  TaskBytes,
} from '../../../src/image/workers/tasks.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
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

describe('a scan', () => {
  const blockSize = 512
  /** The last block of the second run is shorter. */
  const runs = [
    { offset: 0, length: 1024, blockSize, count: 2 },
    { offset: 1024, length: 1300, blockSize, count: 3 },
  ]

  async function scan(bytes: TaskBytes[], before: { known: number[]; digests: Uint8Array<ArrayBuffer> }) {
    const known = Uint32Array.from(before.known)
    const task = { kind: 'scan' as const, digest: xxh, bytes, length: 2324, runs, known, before: before.digests }
    return (await new TaskExecutor().execute(task)) as Scanned
  }

  const nothing = { known: [0, 0], digests: new Uint8Array(0) }

  test('hands back every block that there was not before', async () => {
    const bytes = randomBytes(2324)
    const found = await scan([own(bytes)], nothing)
    expect([...found.changed]).toEqual([0, 1, 2, 3, 4])
    expect(Buffer.from(found.bytes).equals(bytes)).toBe(true)
    expect(found.digests).toHaveLength(5 * 16)
  })

  test('hands back what differs, and what is beyond the blocks known of a run', async () => {
    const bytes = randomBytes(2324)
    const { digests } = await scan([own(bytes)], nothing)
    const changed = Buffer.from(bytes)
    changed[700] = (bytes[700] ?? 0) ^ 1
    changed[2323] = (bytes[2323] ?? 0) ^ 1
    const all = await scan([own(changed)], { known: [2, 3], digests })
    expect([...all.changed]).toEqual([1, 4])
    expect(Buffer.from(all.bytes).equals(Buffer.concat([changed.subarray(512, 1024), changed.subarray(2048)]))).toBe(
      true,
    )
    const rows = Buffer.concat([digests.subarray(0, 16), digests.subarray(32, 64)])
    const fewer = await scan([own(bytes)], { known: [1, 2], digests: own(rows) })
    expect([...fewer.changed]).toEqual([1, 4])
  })

  test('reads what lies in files, holes and memory, and says when a file ends too early', async () => {
    const path = join(temporaryDirectory(), 'file')
    const bytes = randomBytes(2000)
    writeFileSync(path, bytes)
    const fd = openSync(path, 'r')
    onTestFinished(() => closeSync(fd))
    const mixed = [
      [
        { fd, position: 100, length: 1000 },
        { fd: ZEROS, position: 0, length: 24 },
      ],
      own(bytes.subarray(700)),
    ]
    const found = await scan(mixed, nothing)
    const expected = Buffer.concat([bytes.subarray(100, 1100), Buffer.alloc(24), bytes.subarray(700)])
    expect(Buffer.from(found.bytes).equals(expected)).toBe(true)
    await expect(scan([[{ fd, position: 100, length: 2324 }]], nothing)).rejects.toThrow('the file ends at byte 2000')
  })
})

describe('opening frames', () => {
  const contents = [Buffer.alloc(5000, 'a'), randomBytes(70_000), Buffer.alloc(3000, 'c')]

  /** The frames of the contents, and the task that opens them into memory of no file. */
  async function task(): Promise<OpenTask & { stored: Uint8Array<ArrayBuffer> }> {
    const made = (await new TaskExecutor().execute(storeTask(contents))) as Stored
    let row = 0
    const frames = contents.map((bytes, at) => {
      const runs = [{ offset: 0, length: bytes.length, blockSize: 512, count: Math.ceil(bytes.length / 512) }]
      const end = row + Math.ceil(bytes.length / 512) * 16
      const digests = made.digests.slice(row, end)
      row = end
      const pieces: PlacedPiece[] = []
      return { storedLength: made.lengths[at] ?? 0, plainLength: bytes.length, runs, digests, pieces }
    })
    return { kind: 'open', digest: xxh, stored: made.stored, frames }
  }

  const problems = async (open: OpenTask) => ((await new TaskExecutor().execute(open)) as Opened).problems

  test('finds sound what is sound, and writes the pieces asked for', async () => {
    const path = join(temporaryDirectory(), 'file')
    writeFileSync(path, Buffer.alloc(70_000))
    const open = await task()
    open.frames[1]?.pieces?.push({ to: { path, sparse: false }, position: 0, offset: 0, length: 70_000 })
    expect(await problems(open)).toEqual([null, null, null])
    expect(readFileSync(path).equals(contents[1] ?? Buffer.alloc(0))).toBe(true)
  })

  const harms: [string, (open: OpenTask) => void, number, RegExp][] = [
    ['cut off', open => Object.assign(open, { stored: open.stored.slice(0, -1) }), 2, /^is cut off$/],
    ['flipped', open => flip(open.stored, 9), 0, /^cannot be decompressed \(/],
    [
      'shorter than told',
      open => Object.assign(open.frames[2] ?? {}, { plainLength: 3001 }),
      2,
      /^decompresses to 3000 bytes, not 3001$/,
    ],
    [
      'of other blocks',
      open => flip(open.frames[1]?.digests ?? new Uint8Array(1), 5),
      1,
      /^holds blocks that differ from their digests$/,
    ],
  ]
  test.each(
    harms,
  )('says of a frame that is %s what is wrong, and of the others nothing', async (_, harm, at, words) => {
    const open = await task()
    harm(open)
    const found = await problems(open)
    expect(found[at]).toMatch(words)
    expect(found.filter(problem => problem !== null)).toHaveLength(1)
  })

  test('leaves a frame closed that nobody asks for', async () => {
    const open = await task()
    flip(open.stored, 9)
    const [first] = open.frames
    if (first !== undefined) first.pieces = null
    expect(await problems(open)).toEqual([null, null, null])
  })
})

function flip(bytes: Uint8Array, at: number): void {
  bytes[at] = (bytes[at] ?? 0) ^ 8
}
