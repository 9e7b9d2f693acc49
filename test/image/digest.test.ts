import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createBlockDigester } from '../../src/image/digest.js'
import { DigestTable } from '../../src/image/digest-table.js'
import { DIGEST_BYTES } from '../../src/image/types.js'
import { temporaryDirectory } from '../helpers/temporary.js'

const seed = '0123456789abcdef'

describe.each(['xxh3-128', 'sha256-128'] as const)('the block digest %s', algorithm => {
  test('is that of each block by itself, of a short last one too', async () => {
    const digester = await createBlockDigester({ algorithm, seed })
    const bytes = randomBytes(4096 * 3 + 17)
    const all = new Uint8Array(4 * DIGEST_BYTES)
    digester(bytes, 4096, all)
    for (let block = 0; block < 4; block += 1) {
      const one = new Uint8Array(DIGEST_BYTES)
      digester(bytes.subarray(block * 4096, (block + 1) * 4096), 4096, one)
      expect(all.subarray(block * DIGEST_BYTES, (block + 1) * DIGEST_BYTES)).toEqual(one)
    }
  })

  test('differs for any flipped bit of a block', async () => {
    const digester = await createBlockDigester({ algorithm, seed })
    const block = Buffer.alloc(512)
    const digestOf = () => {
      const into = new Uint8Array(DIGEST_BYTES)
      digester(block, 512, into)
      return Buffer.from(into).toString('hex')
    }
    const seen = new Set([digestOf()])
    for (let bit = 0; bit < 4096; bit += 1) {
      const at = bit >> 3
      block.writeUInt8(1 << (bit & 7), at)
      seen.add(digestOf())
      block.writeUInt8(0, at)
    }
    expect(seen.size).toBe(4097)
  })
})

test('xxh3-128 is the published one under its seed: the digests of a chain outlive this program', async () => {
  const digester = await createBlockDigester({ algorithm: 'xxh3-128', seed: '0000000000000000' })
  const into = new Uint8Array(DIGEST_BYTES)
  digester(Buffer.from('a'), 512, into)
  // As `printf a | xxh128sum` prints it.
  expect(Buffer.from(into).toString('hex')).toBe('a96faf705af16834e6c632b61e964e1f')
})

test('each half of the seed counts', async () => {
  const seen = new Set<string>()
  for (const other of [seed, '1123456789abcdef', '0123456789abcdee', '89abcdef01234567']) {
    const into = new Uint8Array(DIGEST_BYTES)
    const digester = await createBlockDigester({ algorithm: 'xxh3-128', seed: other })
    digester(Buffer.alloc(512), 512, into)
    seen.add(Buffer.from(into).toString('hex'))
  }
  expect(seen.size).toBe(4)
})

describe('DigestTable', () => {
  const rowsOf = (table: DigestTable, row: number, count: number) => {
    const into = new Uint8Array(count * DIGEST_BYTES)
    table.read(row, into)
    return into
  }

  test('gives back what was put, zeros for what was not, and nothing beyond its end', () => {
    const table = DigestTable.create(join(temporaryDirectory(), 't'), 10)
    const rows = randomBytes(3 * DIGEST_BYTES)
    table.put(4, rows)
    expect(Buffer.from(rowsOf(table, 4, 3)).equals(rows)).toBe(true)
    expect(rowsOf(table, 0, 4)).toEqual(new Uint8Array(4 * DIGEST_BYTES))
    expect(() => rowsOf(table, 8, 5)).toThrow(/shorter/)
    table.close()
  })

  test('grows with what is put beyond its end, and takes rows over from another', () => {
    const directory = temporaryDirectory()
    const from = DigestTable.create(join(directory, 'from'), 0)
    const rows = randomBytes(70_000 * DIGEST_BYTES)
    from.put(5, rows)
    expect(from.rows).toBe(70_005)
    const to = DigestTable.create(join(directory, 'to'), 1)
    to.copyRows(from, 5, 2, 70_000)
    expect(to.rows).toBe(70_002)
    expect(Buffer.from(rowsOf(to, 2, 70_000)).equals(rows)).toBe(true)
    for (const table of [from, to]) table.close()
  })

  test('has as image digest the SHA-256 of all its rows', () => {
    const path = join(temporaryDirectory(), 't')
    const table = DigestTable.create(path, 70_000)
    table.put(69_999, randomBytes(DIGEST_BYTES))
    expect(table.imageDigest()).toBe(createHash('sha256').update(readFileSync(path)).digest('hex'))
    table.close()
  })

  test('is copied without its copy changing it, cut and lengthened with zeros', () => {
    const directory = temporaryDirectory()
    const table = DigestTable.create(join(directory, 'a'), 3)
    table.put(0, Buffer.alloc(3 * DIGEST_BYTES, 7))
    const shorter = DigestTable.copyOf(table, join(directory, 'b'), 1)
    const longer = DigestTable.copyOf(table, join(directory, 'c'), 5)
    longer.put(0, Buffer.alloc(DIGEST_BYTES, 9))
    expect([shorter.rows, longer.rows, table.rows]).toEqual([1, 5, 3])
    expect(rowsOf(table, 0, 1)[0]).toBe(7)
    expect(rowsOf(longer, 3, 2)).toEqual(new Uint8Array(2 * DIGEST_BYTES))
    expect(() => DigestTable.copyOf(table, join(directory, 'b'), 1)).toThrow(/EEXIST/)
    expect(statSync(join(directory, 'a')).mode & 0o777).toBe(0o600)
    for (const one of [table, shorter, longer]) one.close()
  })
})
