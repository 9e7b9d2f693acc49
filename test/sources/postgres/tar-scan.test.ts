import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execaSync } from 'execa'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { renamedHeader, tarHeader } from '../../../src/sources/postgres/tar-header.js'
import { paddingOf, type TarMember, TarScanner } from '../../../src/sources/postgres/tar-scan.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

/** Cuts bytes into pieces of the given lengths, over and over. */
function cut(bytes: Buffer, lengths: number[]): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const length = lengths[turn % lengths.length] ?? 1
    pieces.push(bytes.subarray(at, at + length))
    at += length
  }
  return pieces
}

function scan(archive: Buffer, lengths: number[]): { members: TarMember[]; contents: Buffer[]; ended: boolean } {
  const scanner = new TarScanner()
  const members: TarMember[] = []
  const contents: Buffer[] = []
  for (const chunk of cut(archive, lengths)) {
    for (const piece of scanner.push(chunk)) {
      if (piece.kind === 'header') {
        members.push(piece.member)
        contents.push(Buffer.alloc(0))
      } else if (piece.kind === 'content') {
        contents.push(Buffer.concat([contents.pop() ?? Buffer.alloc(0), piece.bytes]))
      }
    }
  }
  return { members, contents, ended: scanner.ended }
}

const at = { uid: 101, gid: 104, mtime: 1_700_000_000 }

describe('reading an archive', () => {
  it('finds names and contents of what GNU tar wrote, whatever the pieces', () => {
    const directory = temporaryDirectory()
    mkdirSync(join(directory, 'tree/base'), { recursive: true })
    const files = { 'tree/a': 'x'.repeat(1000), 'tree/base/empty': '', 'tree/base/full': 'y'.repeat(1024) }
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
    execaSync('tar', ['-c', '--format=ustar', '-f', 'tree.tar', '--sort=name', 'tree'], { cwd: directory })
    const archive = readFileSync(join(directory, 'tree.tar'))
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 5 }), lengths => {
        const { members, contents, ended } = scan(archive, lengths)
        expect(members.map(({ name }) => name)).toEqual([
          'tree',
          'tree/a',
          'tree/base',
          'tree/base/empty',
          'tree/base/full',
        ])
        expect(members.map(({ type }) => type).join('')).toBe('50500')
        expect(contents.map(bytes => bytes.toString())).toEqual(['', files['tree/a'], '', '', files['tree/base/full']])
        expect(ended).toBe(true)
      }),
      { numRuns: 50 },
    )
  })

  it('refuses what is no archive, also with one byte changed', () => {
    const header = tarHeader({ name: 'PG_VERSION', type: '0', mode: 0o600, size: 3, ...at })
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 511 }), fc.integer({ min: 1, max: 255 }), (position, change) => {
        const damaged = Buffer.from(header)
        damaged[position] = (damaged[position] ?? 0) ^ change
        // A checksum field may say the same number in other characters.
        if (position >= 148 && position < 156) return
        expect(() => new TarScanner().push(damaged)).toThrow(expect.objectContaining({ code: 'tar_damaged' }))
      }),
    )
  })

  it('an archive that is cut off has not ended', () => {
    const header = tarHeader({ name: 'PG_VERSION', type: '0', mode: 0o600, size: 3, ...at })
    expect(scan(Buffer.concat([header, Buffer.alloc(512)]), [700]).ended).toBe(false)
  })
})

describe('writing headers', () => {
  it('what is written is read again, large sizes and ids too', () => {
    const numbers = {
      size: fc.integer({ min: 0, max: 2 ** 47 }),
      uid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
      gid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
      mtime: fc.integer({ min: 0, max: 2 ** 34 }),
    }
    fc.assert(
      fc.property(fc.record(numbers), values => {
        const header = tarHeader({ name: 'base/1/1259', type: '0', mode: 0o600, ...values })
        const [piece] = new TarScanner().push(header)
        expect(piece?.member).toEqual({ name: 'base/1/1259', type: '0', ...values })
      }),
    )
  })

  it('GNU tar lists renamed members with their long names, sizes and owners', () => {
    const directory = temporaryDirectory()
    const long = `pg_tblspc/16390/PG_15_202209061/16385/${'d'.repeat(60)}/${'f'.repeat(99)}`
    const content = Buffer.alloc(700, 'z')
    const file = tarHeader({ name: 'PG_15_202209061/16385/2619', type: '0', mode: 0o640, size: content.length, ...at })
    const folder = tarHeader({ name: 'PG_15_202209061', type: '5', mode: 0o700, size: 0, ...at })
    const parts = [renamedHeader(folder, 'pg_tblspc/16390/PG_15_202209061'), renamedHeader(file, long), content]
    const path = join(directory, 'renamed.tar')
    writeFileSync(path, Buffer.concat([...parts, Buffer.alloc(paddingOf(content.length)), Buffer.alloc(1024)]))
    const { stdout, stderr } = execaSync('tar', ['-t', '-v', '--numeric-owner', '-f', path], { env: { TZ: 'UTC' } })
    expect(stderr).toBe('')
    const lines = stdout.split('\n').map(line => line.replace(/ +/g, ' '))
    expect(lines).toEqual([
      'drwx------ 101/104 0 2023-11-14 22:13 pg_tblspc/16390/PG_15_202209061/',
      `-rw-r----- 101/104 700 2023-11-14 22:13 ${long}`,
    ])
  })

  it('a name that ustar cannot hold is an error that names it', () => {
    const name = 'x'.repeat(101)
    expect(() => tarHeader({ name, type: '0', mode: 0o600, size: 0, ...at })).toThrow(
      expect.objectContaining({ code: 'name_too_long', message: expect.stringContaining(name) }),
    )
  })
})
