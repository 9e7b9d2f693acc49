import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NexusError } from '../../../src/errors.js'
import { TarReader } from '../../../src/image/tree/tar-reader.js'
import type { TreeEntry } from '../../../src/image/tree/types.js'
import { archive, base256, end, header, member, padded, pax, signed } from './tar-bytes.js'

interface Read {
  entries: TreeEntry[]
  contents: string[]
  bytes: Buffer
}

/** Reads an archive in pieces of a size. */
function read(bytes: Buffer, size = bytes.length): Read {
  const reader = new TarReader()
  const entries: TreeEntry[] = []
  const contents: string[] = []
  const all: Buffer[] = []
  for (let at = 0; at < bytes.length; at += size) {
    // A buffer of its own that is overwritten afterwards: nothing may be held that belongs to the giver.
    const chunk = Buffer.from(bytes.subarray(at, at + size))
    for (const piece of reader.push(chunk)) {
      if (piece.kind === 'entry') {
        entries.push(piece.entry)
        contents.push('')
        continue
      }
      all.push(Buffer.from(piece.bytes))
      if (piece.kind === 'content') contents.push(contents.pop() + Buffer.from(piece.bytes).toString('latin1'))
    }
    chunk.fill(0xee)
  }
  reader.finish()
  return { entries, contents, bytes: Buffer.concat(all) }
}

function failure(bytes: Buffer): unknown {
  try {
    read(bytes)
  } catch (error) {
    return error
  }
  return undefined
}

const long = `${'d'.repeat(120)}/${'f'.repeat(90)}`

describe('a tar archive', () => {
  test('is read in whatever pieces it comes, and every byte of it is handed on', () => {
    const bytes = archive(
      member({ name: './', type: '5' }),
      member({ name: 'a/', type: '5', mode: 0o750, uid: 7, gid: 8, owner: 'app' }),
      member({ name: 'a/b', content: Buffer.from('hello') }),
      member({ name: 'a/empty' }),
      member({ name: 'a/c', content: Buffer.alloc(1025, 'x') }),
      member({ name: 'a/link', type: '2', link: '../somewhere' }),
      member({ name: 'a/again', type: '1', link: './a/b' }),
      Buffer.alloc(8192),
    )
    for (const size of [1, 7, 511, 512, 513, 4096, bytes.length]) {
      const { entries, contents, bytes: all } = read(bytes, size)
      expect(all.equals(bytes)).toBe(true)
      expect(entries.map(({ path, type }) => `${type} ${path}`)).toEqual([
        'directory a',
        'file a/b',
        'file a/empty',
        'file a/c',
        'symlink a/link',
        'hardlink a/again',
      ])
      expect(contents.map(({ length }) => length)).toEqual([0, 5, 0, 1025, 0, 0])
      expect(entries[0]).toMatchObject({ mode: 0o750, uid: 7, gid: 8, owner: 'app', mtime: 1_700_000_000, size: 0 })
      expect(entries.map(({ link }) => link).slice(4)).toEqual(['../somewhere', 'a/b'])
    }
  })

  test('may have long names in each of the three ways', () => {
    const content = Buffer.from('x')
    const name = Buffer.from(`${long}\0`)
    const bytes = archive(
      member({ name: long.slice(121), prefix: long.slice(0, 120), content }),
      member({ name: '././@LongLink', type: 'L', content: name }),
      member({ name: long.slice(0, 100), magic: 'ustar  \0', prefix: 'times', content }),
      member({ name: '././@LongLink', type: 'K', content: name }),
      member({ name: 'link', type: '2', link: long.slice(0, 100), magic: 'ustar  \0' }),
      pax({ path: `${long}ö`, linkpath: 'ignored', 'SCHILY.xattr.user.x': 'ÿ' }),
      member({ name: 'short', content }),
      member({ name: 'later', content }),
    )
    const { entries } = read(bytes, 100)
    expect(entries.map(({ path }) => path)).toEqual([long, long, 'link', `${long}ö`, 'later'])
    expect(entries[2]?.link).toBe(long)
  })

  test('may say numbers in pax records and in base 256, for one member or for all that follow', () => {
    const bytes = archive(
      pax({ mtime: '1699999999.25', uid: '3000000000', gid: '5', uname: 'ü', gname: 'g' }, 'g'),
      member({ name: 'a', uid: 1 }),
      pax({ size: '3', mtime: '-1.5', uid: '' }),
      member({ name: 'b', size: 0o777, uid: 9 }).subarray(0, 512),
      padded(Buffer.from('abc')),
      member({ name: 'c', mtime: base256(-2n, 12), size: base256(2n, 12), content: Buffer.from('xy') }),
    )
    const { entries, contents } = read(bytes)
    expect(entries).toMatchObject([
      { path: 'a', mtime: 1_699_999_999.25, uid: 3_000_000_000, gid: 5, owner: 'ü', group: 'g' },
      { path: 'b', mtime: -1.5, uid: 9, size: 3 },
      { path: 'c', size: 2 },
    ])
    expect(contents).toEqual(['', 'abc', 'xy'])
    expect(read(archive(member({ name: 'c', mtime: base256(-2n, 12) }))).entries[0]?.mtime).toBe(-2)
  })

  test('is refused when it is cut off anywhere', () => {
    const whole = archive(
      member({ name: 'a', content: Buffer.alloc(700, 1) }),
      pax({ path: 'p' }),
      member({ name: 'b' }),
    )
    for (let length = 0; length < whole.length; length += 1) {
      expect(failure(whole.subarray(0, length)), String(length)).toMatchObject({ kind: 'failed' })
    }
    expect(failure(whole)).toBeUndefined()
  })

  test.each<[string, Buffer, RegExp]>([
    ['a header whose checksum is wrong', archive(Buffer.from(header({ name: 'a' })).fill('x', 0, 1)), /checksum/],
    ['a header of random bytes', archive(Buffer.alloc(512, 0x61)), /garbled/],
    ['a size that is no number', archive(signed(Buffer.from(header({ name: 'a' })).fill('z', 124, 126))), /number/],
    ['a size beyond all numbers', archive(header({ name: 'a', size: base256(2n ** 80n, 12) })), /too large/],
    ['a negative size', archive(header({ name: 'a', size: base256(-5n, 12) })), /impossible length/],
    ['an extended header that is too long', archive(header({ name: 'a', type: 'x', size: 2 ** 21 })), /impossible/],
    [
      'an extended header that is none',
      archive(member({ name: 'p', type: 'x', content: Buffer.from('9 a=b') })),
      /none/,
    ],
    ['a number in it that is none', archive(pax({ size: '1e9' }), member({ name: 'a' })), /no number/],
    ['an extended header at the end', archive(pax({ path: 'a' })), /nothing to extend/],
    ['a single block of zeros', Buffer.concat([Buffer.alloc(512), archive(member({ name: 'a' }))]), /single block/],
    [
      'something after its end',
      Buffer.concat([archive(member({ name: 'a' })), Buffer.from('more')]),
      /follows its end/,
    ],
    ['a second archive after its end', Buffer.concat([end, archive(member({ name: 'a' }))]), /follows its end/],
    ['an old sparse member', archive(member({ name: 's', type: 'S' })), /type S/],
    ['a pax sparse member', archive(pax({ 'GNU.sparse.major': '1' }), member({ name: 's' })), /sparse/],
    [
      'a hard link with content',
      archive(member({ name: 'l', type: '1', link: 'a', content: Buffer.from('x') })),
      /content/,
    ],
    ['an absolute path', archive(member({ name: '/etc/passwd' })), /stay inside/],
    ['a path that climbs out', archive(member({ name: 'a/../../b' })), /stay inside/],
    ['a file without a name', archive(member({ name: '' })), /stay inside/],
    ['a name with a NUL', archive(pax({ path: 'a\0b' }), member({ name: 'x' })), /stay inside/],
  ])('is refused when it has %s', (_, bytes, message) => {
    const error = failure(bytes)
    expect(error).toMatchObject({ kind: 'failed', code: 'archive_unreadable' })
    expect((error as Error).message).toMatch(message)
  })

  test('is read or refused, and nothing else, whatever bytes of it are changed', () => {
    const good = archive(
      pax({ path: 'p'.repeat(150), mtime: '5.5' }),
      member({ name: 'a', content: Buffer.alloc(600, 1) }),
      member({ name: 'L', type: 'L', content: Buffer.from('long\0') }),
      member({ name: 'b', content: Buffer.from('b') }),
    )
    const change = fc.tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 }), fc.boolean())
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 5 }), list => {
        const bytes = Buffer.from(good)
        for (const [at, byte, resign] of list) {
          bytes[at] = byte
          const block = at - (at % 512)
          if (resign) signed(bytes.subarray(block, block + 512))
        }
        const error = failure(bytes)
        if (error !== undefined) expect(error).toBeInstanceOf(NexusError)
      }),
      { numRuns: 2000 },
    )
  })
})
