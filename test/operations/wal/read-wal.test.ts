import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { stampOf } from '../../../src/operations/wal/note.js'
import { readWal, walNameOf } from '../../../src/operations/wal/read-wal.js'
import { parseControlFile } from '../../../src/sources/postgres/control-file.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { controlBytes, segmentBytes, system } from '../../sources/postgres/segments.js'

const MIB = 1024 * 1024
const control = parseControlFile(controlBytes(), 'pg_control')
const segment = '000000010000000000000001'

function written(name: string, content: string | Buffer): string {
  const path = join(temporaryDirectory(), name)
  writeFileSync(path, content)
  return path
}

const read = (path: string, name: string, room?: Buffer) => readWal(path, walNameOf(name), control, room)

describe('a file of pg_wal', () => {
  it('is read with all that is to be known of it', async () => {
    const path = written(segment, segmentBytes(1))
    const found = await read(path, segment)
    expect(found).toMatchObject({ name: segment, stamp: stampOf(path), systemIdentifier: system })
    expect(found.plain.equals(segmentBytes(1))).toBe(true)
  })

  it('is read into memory that is there where that has its very size', async () => {
    const path = written(segment, segmentBytes(1))
    const room = Buffer.alloc(MIB)
    expect((await read(path, segment, room)).plain).toBe(room)
    expect((await read(path, segment, Buffer.alloc(MIB + 1))).plain).toHaveLength(MIB)
  })

  it.each([
    ['00000002.history', '1\t0/300000\tno recovery target specified\n'],
    [`${segment}.00000028.backup`, 'START WAL LOCATION: 0/300028 (file …)\n'],
  ])('%s is text, of no system', async (name, text) => {
    const { plain, systemIdentifier } = await read(written(name, text), name)
    expect([plain.toString(), systemIdentifier]).toEqual([text, undefined])
  })

  it.each([
    ['00000002.history', '# nothing\n', 'it names no ancestor'],
    [`${segment}.00000028.backup`, 'something else', 'not the note of a base backup'],
    ['00000002.history', Buffer.alloc(MIB + 1), `it has ${MIB + 1} bytes`],
  ])('%s is refused when it is not what its name says', async (name, content, words) => {
    await expect(read(written(name, content), name)).rejects.toMatchObject({
      kind: 'refused',
      code: 'wal_malformed',
      message: expect.stringContaining(words),
    })
  })

  it('is refused where it is larger than a segment can be, and when it is no regular file', async () => {
    const path = written(segment, '')
    truncateSync(path, 1024 * MIB + 1)
    await expect(read(path, segment)).rejects.toMatchObject({ kind: 'refused', code: 'wal_malformed' })
    const directory = join(temporaryDirectory(), segment)
    mkdirSync(directory)
    await expect(read(directory, segment)).rejects.toMatchObject({
      code: 'wal_malformed',
      message: expect.stringContaining('it is not a regular file'),
    })
  })

  it('that is not there says where the server would have it', async () => {
    await expect(read(join(temporaryDirectory(), segment), segment)).rejects.toMatchObject({
      kind: 'failed',
      code: 'wal_unreadable',
      hint: expect.stringContaining('relative to the data directory'),
    })
  })

  it.each(['', 'postgresql.conf', '../000000010000000000000001', 'x'.repeat(500)])('is never called %j', name => {
    const naming = () => walNameOf(name)
    expect(naming).toThrowError(expect.objectContaining({ kind: 'usage', code: 'wal_name_invalid' }))
    expect(naming).not.toThrowError(/x{200}/)
  })
})
