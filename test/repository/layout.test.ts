import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  assertSourceName,
  isBackupId,
  isPartName,
  isSourceName,
  makeBackupId,
  partNameFor,
  quoted,
  sourceNameFromStem,
  typeOfId,
} from '../../src/repository/layout.js'
import { backupTypes } from '../../src/repository/manifest.js'

describe('backup ids', () => {
  test('carry the instant, the type and four hexadecimal digits', () => {
    const at = new Date('2025-11-03T03:00:00.123Z')
    expect(makeBackupId(at, 'full', '7f3a')).toBe('20251103T030000.123Z-full-7f3a')
    expect(makeBackupId(at, 'incr')).toMatch(/^20251103T030000\.123Z-incr-[0-9a-f]{4}$/)
  })

  test('are recognised for every instant and type, sort by time, and are never source names', () => {
    const instants = fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true })
    fc.assert(
      fc.property(instants, instants, fc.constantFrom(...backupTypes), (a, b, type) => {
        const [first, second] = [makeBackupId(a, type, '0000'), makeBackupId(b, type, '0000')]
        expect(isBackupId(first)).toBe(true)
        expect(typeOfId(first)).toBe(type)
        expect(isSourceName(first)).toBe(false)
        expect(isSourceName(first.toLowerCase())).toBe(false)
        expect(first < second).toBe(a < b)
      }),
    )
  })

  test('are nothing else', () => {
    for (const name of [
      '',
      'itsm',
      '20251103T030000.123Z-full-7F3A',
      '20251103T030000.123Z-full-7f3a/',
      ' 20251103T030000.123Z-full-7f3a',
      '20251103T030000.123Z-full-7f3a\n',
    ]) {
      expect(isBackupId(name)).toBe(false)
      expect(typeOfId(name)).toBeUndefined()
    }
  })
})

describe('source names', () => {
  test('are short, lower-case and safe in a path', () => {
    for (const name of ['itsm', 'a', '0', 'access-control', 'a.b_c-d', 'x'.repeat(63)]) {
      expect(() => assertSourceName(name)).not.toThrow()
    }
    const bad = ['', '.', '..', '-a', '.a', '_a', 'A', 'a b', 'a/b', 'a\n', 'ü', 'x'.repeat(64)]
    for (const name of [
      ...bad,
      'keys',
      'locks',
      'wal',
      'index',
      'proofs',
      'recover',
      'nexus-backup.json',
      'recover.mjs',
    ]) {
      expect(() => assertSourceName(name)).toThrow(
        expect.objectContaining({
          kind: 'usage',
          code: 'source_name_invalid',
          hint: expect.stringContaining('--name'),
        }),
      )
    }
  })

  test('come from the stem of a file where it allows that', () => {
    expect(sourceNameFromStem('/opt/itsm/itsm_nexus.db')).toBe('itsm_nexus')
    expect(sourceNameFromStem('data.v2.sqlite')).toBe('data.v2')
    for (const file of ['/opt/My Data.db', '/opt/.db', 'wal.db']) {
      expect(() => sourceNameFromStem(file)).toThrow(expect.objectContaining({ kind: 'usage' }))
    }
  })
})

describe('part names', () => {
  test('made from any file name can be listed in SHA256SUMS', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), name => {
        expect(isPartName(partNameFor(name, '.zst'))).toBe(true)
      }),
    )
  })

  test('stay as they are where they can, and never collide with our own files', () => {
    expect(partNameFor('itsm_nexus.db', '.zst')).toBe('itsm_nexus.db.zst')
    expect(partNameFor('データ ベース.db', '.zst')).toBe('データ ベース.db.zst')
    expect(partNameFor('a\\b\nc', '.zst')).toBe('a_b_c.zst')
    for (const name of ['manifest.json', 'SHA256SUMS', '.scratch', '-rf', 'a/b', ''])
      expect(isPartName(name)).toBe(false)
  })
})

test('quoted text holds nothing that a terminal obeys and is bounded', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 2000 }), text => {
      expect(quoted(text)).not.toMatch(/[\p{Cc}\u202e]/u)
      expect(quoted(text).length).toBeLessThan(1000)
    }),
  )
})
