import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseControlFile, readControlFile } from '../../../src/sources/postgres/control-file.js'
import { checkSegment, parseWalHeader } from '../../../src/sources/postgres/wal-header.js'
import { segmentName } from '../../../src/sources/postgres/wal-names.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { controlBytes, type SegmentWishes, segmentBytes, system } from './segments.js'

const name = segmentName(2, 5, 2 ** 20)
const control = parseControlFile(controlBytes(), 'pg_control')

describe('a control file', () => {
  it.each([true, false])('says the system in either byte order (little: %s)', little => {
    expect(parseControlFile(controlBytes(system, 1700, little), 'pg_control')).toEqual({
      systemIdentifier: system,
      controlVersion: 1700,
      catalogVersion: 202209061,
    })
  })

  it('is damage when it is cut off or empty, and absent where there is none', () => {
    const directory = temporaryDirectory()
    expect(readControlFile(directory)).toBeUndefined()
    mkdirSync(join(directory, 'global'))
    const file = join(directory, 'global', 'pg_control')
    for (const bytes of [Buffer.alloc(0), controlBytes().subarray(0, 15), Buffer.alloc(64)]) {
      writeFileSync(file, bytes)
      expect(() => readControlFile(directory)).toThrow(expect.objectContaining({ kind: 'damage' }))
    }
    writeFileSync(file, controlBytes())
    expect(readControlFile(directory)?.systemIdentifier).toBe(system)
  })
})

describe('a segment', () => {
  it.each([
    [0xd106, 13],
    [0xd10d, 14],
    [0xd110, 15],
    [0xd113, 16],
    [0xd116, 17],
    [0xd118, 18],
    [0xd1ff, undefined],
  ])('with magic %i is of version %s', (magic, major) => {
    expect(parseWalHeader(segmentBytes(5, { magic }))).toMatchObject({ major, systemIdentifier: system })
  })

  it('is read in either byte order', () => {
    expect(parseWalHeader(segmentBytes(5, { little: false }))).toEqual(parseWalHeader(segmentBytes(5)))
  })

  it('is whole when header, name, size and system agree; its first page may be of an older timeline', () => {
    expect(checkSegment(name, segmentBytes(5), control).segmentBytes).toBe(2 ** 20)
    expect(checkSegment(`${name}.partial`, segmentBytes(5, { timeline: 2 }), control).timeline).toBe(2)
    expect(checkSegment(name, segmentBytes(5), undefined).major).toBe(15)
  })

  it.each<[string, number, SegmentWishes, string]>([
    ['a truncated one', 5, { bytes: 2 ** 19 }, 'wal_malformed'],
    ['one with bytes after it', 5, { bytes: 2 ** 20 + 1 }, 'wal_malformed'],
    ['one of a size that none has', 5, { segmentBytes: 3 * 2 ** 20 }, 'wal_malformed'],
    ['the content of another position', 6, {}, 'wal_malformed'],
    ['the content of a newer timeline', 5, { timeline: 3 }, 'wal_malformed'],
    ['one of another system', 5, { systemIdentifier: '42' }, 'wal_foreign'],
    ['one of another version', 5, { magic: 0xd116 }, 'wal_version'],
    ['one of a version before those we know', 5, { magic: 0xd093 }, 'wal_version'],
  ])('is refused: %s', (_, number, wishes, code) => {
    expect(() => checkSegment(name, segmentBytes(number, wishes), control)).toThrow(
      expect.objectContaining({ kind: 'refused', code }),
    )
  })

  it('is refused without a header', () => {
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(2 ** 20), Buffer.alloc(2 ** 20, 0xd1)]) {
      expect(() => checkSegment(name, bytes, control)).toThrow('is not a whole WAL segment')
    }
  })

  it('of a server newer than this program is taken when the system is the same', () => {
    const newer = { ...control, controlVersion: 1900 }
    expect(checkSegment(name, segmentBytes(5, { magic: 0xd120 }), newer).major).toBeUndefined()
  })
})
