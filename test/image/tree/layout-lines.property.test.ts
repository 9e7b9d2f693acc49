import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LayoutScanner } from '../../../src/image/tree/layout-bytes.js'
import { type LineLayout, layoutOfLine } from '../../../src/image/tree/layout-lines.js'
import { checkedEntry, entryLine } from '../../../src/image/tree/tree-entry.js'
import type { TreeEntry } from '../../../src/image/tree/types.js'

/** Names with everything in them that could be taken for a field. */
const odd = fc
  .array(fc.constantFrom('a', 'ü', '"', '\\', ',', '{', '}', '","size":7,"link":"', '"base":3', '\n', '\u{1f600}'))
  .map(parts => `x${parts.join('')}`)

const facts = fc.oneof(
  fc.constant({}),
  fc.record({ inode: fc.constant('65024:12'), mtime: fc.constant('1700000000123456789'), racy: fc.boolean() }),
  fc.dictionary(odd, fc.oneof(odd, fc.integer(), fc.record({ size: fc.integer() }))),
)

const entries: fc.Arbitrary<TreeEntry> = fc
  .record({
    path: odd,
    kind: fc.constantFrom(
      'file' as const,
      'directory' as const,
      'symlink' as const,
      'hardlink' as const,
      'fifo' as const,
    ),
    mode: fc.integer({ min: 0, max: 0o7777 }),
    uid: fc.integer({ min: 0, max: 0xff_ff_ff_fe }),
    owner: fc.oneof(odd, fc.constant('root')),
    mtime: fc.oneof(fc.double({ min: -1e12, max: 1e12, noNaN: true }), fc.constant(1_700_000_000.25)),
    size: fc.oneof(fc.nat(), fc.maxSafeNat()),
    base: fc.option(fc.nat()),
    attributes: fc.option(fc.constant({ 'user.note': 'aGVsbG8=' }), { nil: undefined }),
    facts,
  })
  .map(({ kind: type, attributes, ...rest }) => {
    const isFile = type === 'file'
    return {
      ...{ ...rest, type, gid: rest.uid, group: rest.owner, sparse: false },
      size: isFile ? rest.size : 0,
      base: isFile ? rest.base : null,
      link: type === 'symlink' || type === 'hardlink' ? rest.path : '',
      ...(attributes === undefined || !(isFile || type === 'directory') ? {} : { attributes }),
    }
  })

/** What is taken out of the bytes of a line, which stands among others. */
function layoutOfBytes(line: string, plain: boolean): LineLayout | undefined {
  const before = '{"path":"x"}\n'
  const bytes = Buffer.from(`${before}${line}\n{"path"`)
  const scanner = new LayoutScanner()
  const end = scanner.scan(bytes, before.length, plain)
  if (end < 0) return undefined
  expect(end).toBe(before.length + Buffer.byteLength(line) + 1)
  return scanner.isFile ? { size: scanner.size, base: scanner.base < 0 ? null : scanner.base } : null
}

const layoutOf = ({ type, size, base }: TreeEntry) => (type === 'file' ? { size, base } : null)

describe('what is taken out of a line without parsing it', () => {
  it('is what the line says, whatever names and facts it has', () => {
    fc.assert(
      fc.property(entries, fc.boolean(), (entry, plain) => {
        const found = layoutOfLine(entryLine(entry), plain)
        if (found !== undefined) expect(found).toEqual(layoutOf(entry))
        expect([found, undefined]).toContainEqual(layoutOfBytes(entryLine(entry), plain))
      }),
      { numRuns: 500 },
    )
  })

  it('of a line that was changed is what a parser finds there, or nothing', () => {
    const changes = fc.record({
      at: fc.nat(),
      gone: fc.nat(3),
      put: fc.constantFrom('', '"', '}', ',"size":9', '0', '-'),
    })
    fc.assert(
      fc.property(entries, changes, (entry, { at, gone, put }) => {
        const line = entryLine(entry)
        const place = at % line.length
        const changed = line.slice(0, place) + put + line.slice(place + gone)
        const found = layoutOfLine(changed, false)
        if (!changed.includes('\n')) expect([found, undefined]).toContainEqual(layoutOfBytes(changed, false))
        if (found === undefined) return
        const checked = checkedEntry(JSON.parse(changed))
        if (typeof checked !== 'string') expect(found).toEqual(layoutOf(checked))
      }),
      { numRuns: 1000 },
    )
  })

  it('is found in every line of usual files and directories', () => {
    const usual = {
      ...{ path: 'srv/uploads/ü "1".txt', mode: 0o644, uid: 0, gid: 0, owner: 'root', group: 'www-data', link: '' },
      ...{ mtime: 1_700_000_000.123, sparse: false, facts: { inode: '65024:12', ctime: '1700000000123456789' } },
    }
    const file = { ...usual, type: 'file' as const, size: 5_000_000_000, base: 12 }
    expect(layoutOfLine(entryLine(file), true)).toEqual({ size: 5_000_000_000, base: 12 })
    const plainName = { ...file, path: 'srv/uploads/ü.txt', attributes: { 'user.a': '' } }
    expect(layoutOfBytes(entryLine(plainName), false)).toEqual({ size: 5_000_000_000, base: 12 })
    expect(layoutOfBytes(entryLine({ ...plainName, base: null }), false)).toEqual({ size: 5_000_000_000, base: null })
    expect(layoutOfBytes(entryLine({ ...usual, path: 'srv', type: 'directory', size: 0, base: null }), true)).toBeNull()
    expect(layoutOfLine(entryLine({ ...file, base: null, attributes: { 'user.a': '' } }), false)).toEqual({
      size: 5_000_000_000,
      base: null,
    })
    expect(layoutOfLine(entryLine({ ...usual, type: 'directory', size: 0, base: null }), true)).toBeNull()
    // Of a cluster attributes are judged with the entry.
    expect(layoutOfLine(entryLine({ ...file, attributes: { 'user.a': '' } }), true)).toBeUndefined()
  })
})
