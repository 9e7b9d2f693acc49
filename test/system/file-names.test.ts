import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bytesOfName, fsPath, isFileName, nameOf, shown } from '../../src/system/file-names.js'

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  // Near UTF-8: characters, and what is cut off, overlong or a surrogate.
  fc
    .array(
      fc.constantFrom(
        [0xc3],
        [0xa9],
        [0xe2, 0x82],
        [0xac],
        [0xf0, 0x9f, 0x98],
        [0x80],
        [0xed, 0xb3, 0xbf],
        [0xc0, 0xaf],
        [0x41],
        [0xf4, 0x90],
      ),
    )
    .map(pieces => Uint8Array.from(pieces.flat())),
)

const text = fc
  .array(fc.nat({ max: 0x10ffff }).filter(code => code < 0xd800 || code > 0xdfff))
  .map(codes => String.fromCodePoint(...codes))

describe('a name as text', () => {
  test('stands for the bytes it was made of, and for no others', () => {
    fc.assert(
      fc.property(bytes, bytes, (one, other) => {
        const name = nameOf(one)
        expect(bytesOfName(name)).toEqual(Buffer.from(one))
        expect(isFileName(name)).toBe(true)
        expect(JSON.parse(JSON.stringify(name))).toBe(name)
        expect(nameOf(other) === name).toBe(Buffer.compare(one, other) === 0)
      }),
    )
  })

  test('is UTF-8 as what it says, and is handed to the kernel as it is', () => {
    fc.assert(
      fc.property(text, text => {
        expect(nameOf(Buffer.from(text))).toBe(text)
        expect(fsPath(text)).toBe(text)
      }),
    )
    expect(fsPath('caf\udce9')).toEqual(Buffer.from('caf\xe9', 'latin1'))
  })

  test('is refused when other text stands for the same bytes, or none', () => {
    for (const text of ['\udcc3\udca9', 'a\ud800', '\udc41', '\udfff']) expect(isFileName(text)).toBe(false)
    expect(() => bytesOfName('\ud800')).toThrow(RangeError)
  })

  test('is shown without anything that a terminal obeys, each name in its own way', () => {
    expect(shown('/srv/plain é')).toBe('/srv/plain é')
    expect(shown('caf\udce9')).toBe('"caf\\xe9"')
    expect(shown('\\xe9')).toBe('\\xe9')
    fc.assert(
      fc.property(bytes, one => {
        expect(shown(nameOf(one))).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u)
      }),
    )
  })
})
