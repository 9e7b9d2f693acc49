import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NexusError } from '../../src/errors.js'
import { formatChecksums, parseChecksums } from '../../src/repository/checksums.js'
import { isPartName } from '../../src/repository/layout.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { sha256 } from './manifests.js'

const names = fc.oneof(
  fc.constantFrom('manifest.json', 'a.zst', 'b'),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }).filter(isPartName),
)
const sums = fc
  .uniqueArray(names, { minLength: 1, maxLength: 8 })
  .map(all => new Map(all.map(name => [name, sha256(name)])))
const parse = (text: string | Uint8Array) => parseChecksums(Buffer.from(text as string), 'SHA256SUMS')

describe('SHA256SUMS', () => {
  test('reads back what it wrote, whatever the order it was given in', () => {
    fc.assert(
      fc.property(sums, given => {
        const text = formatChecksums(given)
        expect(parse(text)).toEqual(given)
        expect(formatChecksums(new Map([...given].reverse()))).toBe(text)
      }),
    )
  })

  test('has one form only: whatever is accepted is what would be written', () => {
    const near = fc.tuple(sums, fc.nat(), fc.nat(255)).map(([given, at, byte]) => {
      const bytes = Buffer.from(formatChecksums(given))
      bytes[at % bytes.length] = byte
      return bytes
    })
    fc.assert(
      fc.property(fc.oneof(near, fc.uint8Array({ maxLength: 300 })), bytes => {
        try {
          expect(Buffer.from(formatChecksums(parse(bytes))).equals(bytes)).toBe(true)
        } catch (error) {
          if (!(error instanceof NexusError)) throw error
          expect(error).toMatchObject({ kind: 'damage' })
        }
      }),
      { numRuns: 500 },
    )
  })

  test('is refused when it is empty, cut off, unsorted, doubled, or not in our form', () => {
    const row = (name: string) => `${sha256(name)}  ${name}\n`
    const bad = [
      '',
      row('a').trimEnd(),
      row('b') + row('a'),
      row('a') + row('a'),
      row('a').replace('  ', ' *'),
      row('a').toUpperCase(),
      `\\${row('a')}`,
      row('../a'),
      `\ufeff${row('a')}`,
      `${row('a')}\n`,
      row('a').replace('\n', '\r\n'),
    ]
    for (const text of bad) expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'checksums_damaged' }))
    expect(() => parse(Buffer.from([0xff, 0x0a]))).toThrow('not UTF-8')
  })

  test('is what sha256sum checks', () => {
    const directory = temporaryDirectory()
    const files = ['itsm.db.zst', 'データ ベース.db.zst', 'Z', 'a']
    for (const name of files) writeFileSync(join(directory, name), name)
    writeFileSync(join(directory, 'SHA256SUMS'), formatChecksums(new Map(files.map(name => [name, sha256(name)]))))
    execFileSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: directory })
    const ours = execFileSync('sh', ['-c', 'LC_ALL=C sha256sum *.zst Z a | LC_ALL=C sort -k 2'], {
      cwd: directory,
      encoding: 'utf8',
    })
    expect(formatChecksums(new Map(files.map(name => [name, sha256(name)])))).toBe(ours)
  })
})
