import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NexusError } from '../../src/errors.js'
import { prettyJson } from '../../src/repository/json.js'
import { checkAgainstSums, checkManifest } from '../../src/repository/manifest-read.js'
import { exampleManifest, sha256 } from './manifests.js'

const parent = '20251102T030000.000Z-full-0000'
const example = exampleManifest()
const check = (value: unknown, id = example.id) => checkManifest(prettyJson(value), id, 'itsm')

function mutated(change: Record<string, unknown>): Record<string, unknown> {
  return { ...structuredClone(example), ...change }
}

describe('checkManifest', () => {
  test('accepts a valid manifest and keeps fields it does not know', () => {
    expect(check(example)).toEqual(example)
    const later = mutated({ later: { keys: ['k'] }, operator: { user: 'a', sudo_user: null, uid: 7 } })
    expect(check(later)).toEqual(later)
  })

  test('says when the format is one it does not know', () => {
    expect(() => check(mutated({ format: 2 }))).toThrow(
      expect.objectContaining({
        kind: 'damage',
        code: 'manifest_format_unknown',
        hint: expect.stringContaining('newer'),
      }),
    )
  })

  const tree = { block_size: 8192, entries: 3, files: 2 }
  const listed = { name: 'tree.jsonl.zst', role: 'tree', bytes: 1, sha256: sha256('') }
  test.each([
    ['another id', { id: '20251103T030000.123Z-full-0000' }, 'calls itself'],
    ['another source', { source: 'other' }, 'belongs to source'],
    ['a type that is not its id’s', { type: 'incr', parent }, 'not that of its id'],
    ['a full with a parent', { parent }, 'names a parent'],
    ['a block count that does not fit', { blocks_total: 4 }, 'have 3 blocks'],
    ['a doubled file', { files: [...example.files, ...example.files], blocks_total: 6 }, 'twice'],
    [
      'sizes beyond counting',
      { files: ['a', 'b'].map(path => ({ path, size: Number.MAX_SAFE_INTEGER, block_size: 512 })) },
      'larger together',
    ],
    ['a tree without its part', { files: [], tree }, 'do not agree'],
    ['a list of entries without a tree', { parts: [listed] }, 'do not agree'],
    ['files beside its tree', { tree, parts: [listed] }, 'files beside its tree'],
    ['more files than entries', { files: [], tree: { ...tree, files: 9 }, parts: [listed] }, 'more files than entries'],
    [
      'a tree whose full lacks blocks',
      { files: [], tree, parts: [listed], blocks_stored: 2 },
      'does not hold every block',
    ],
    ['a negative size', { files: [{ path: 'a', size: -1, block_size: 512 }] }, 'files.0.size'],
    ['a block size of zero', { files: [{ path: 'a', size: 1, block_size: 0 }] }, 'files.0.block_size'],
    ['a path that leaves', { files: [{ path: '../a', size: 1, block_size: 512 }] }, 'files.0.path'],
    ['an absolute path', { files: [{ path: '/etc/passwd', size: 1, block_size: 512 }] }, 'files.0.path'],
    [
      'a part that is a path',
      { parts: [{ name: 'a/b', role: 'index', bytes: 1, sha256: sha256('') }] },
      'parts.0.name',
    ],
    [
      'a part with a line feed',
      { parts: [{ name: 'a\nb', role: 'index', bytes: 1, sha256: sha256('') }] },
      'cannot be the name of a part',
    ],
    [
      'a part that is our own file',
      { parts: [{ name: 'manifest.json', role: 'index', bytes: 1, sha256: sha256('') }] },
      'cannot be the name',
    ],
    ['a time that is none', { captured_at: 'yesterday' }, 'captured_at'],
  ])('refuses %s', (_, change, message) => {
    expect(() => check(mutated(change))).toThrow(
      expect.objectContaining({ kind: 'damage', message: expect.stringContaining(message) }),
    )
  })

  test('refuses an incr without a parent, or with one that is no id or itself', () => {
    const id = example.id.replace('full', 'incr')
    for (const bad of [null, 'x', '../../etc', id]) {
      expect(() => check(mutated({ id, type: 'incr', parent: bad }), id)).toThrow(
        expect.objectContaining({ kind: 'damage' }),
      )
    }
    expect(check(mutated({ id, type: 'incr', parent }), id).parent).toBe(parent)
  })

  test('refuses what is not JSON, not UTF-8, too deep or too large', () => {
    const read = (bytes: Uint8Array) => () => checkManifest(bytes, example.id, 'itsm')
    for (const text of ['', 'x', '{', '\ufeff{}', `${'['.repeat(1e6)}`, `${'{"a":'.repeat(1e5)}1${'}'.repeat(1e5)}`]) {
      expect(read(Buffer.from(text))).toThrow(expect.objectContaining({ kind: 'damage' }))
    }
    expect(read(Buffer.from([0x22, 0xff, 0x22]))).toThrow('not UTF-8')
    expect(read(Buffer.alloc(64 * 1024 * 1024 + 1))).toThrow('more than')
    const deep = JSON.parse(`${'{"a":'.repeat(60)}1${'}'.repeat(60)}`)
    expect(check(mutated({ facts: deep }))).toBeDefined()
    expect(() => check(mutated({ facts: { deeper: { still: deep, more: deep, one: { two: deep } } } }))).not.toThrow()
    expect(() => check(mutated({ facts: { a: { b: { c: { d: { e: { f: deep } } } } } } }))).toThrow('nested deeper')
  })

  test('cannot reach the prototype of anything', () => {
    const text = prettyJson(example).toString().replace('{', '{"__proto__": {"polluted": true},')
    const manifest = checkManifest(Buffer.from(text), example.id, 'itsm')
    expect((manifest as Record<string, unknown>).polluted).toBeUndefined()
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  test('never puts control characters of a hostile manifest into its message', () => {
    for (const change of [
      { source: '\u001b[2J' },
      { id: '\u001b]0;x\u0007' },
      {
        files: [
          { path: 'a', size: 1, block_size: 512 },
          { path: 'a', size: 1, block_size: 512 },
        ],
      },
    ]) {
      expect(() => check(mutated(change))).toThrow(/^\P{Cc}*$/u)
    }
  })

  test('answers any bytes, any JSON and any mutation of a manifest with a manifest or a NexusError', () => {
    const keys = Object.keys(example)
    const value = fc.jsonValue({ maxDepth: 4 })
    const mutation = fc.tuple(fc.subarray(keys, { minLength: 1, maxLength: 3 }), value).map(([some, to]) => {
      const copy: Record<string, unknown> = structuredClone(example)
      for (const key of some) copy[key] = to
      return prettyJson(copy)
    })
    const inner = fc
      .tuple(fc.constantFrom('files', 'parts', 'checks', 'operator', 'versions', 'facts'), fc.array(value))
      .map(([key, to]) => prettyJson(mutated({ [key]: to })))
    const flipped = fc.tuple(fc.nat(), fc.nat(255)).map(([at, byte]) => {
      const bytes = Buffer.from(prettyJson(example))
      bytes[at % bytes.length] = byte
      return bytes
    })
    fc.assert(
      fc.property(fc.oneof(mutation, inner, flipped, value.map(prettyJson), fc.uint8Array()), bytes => {
        try {
          expect(checkManifest(bytes, example.id, 'itsm').id).toBe(example.id)
        } catch (error) {
          if (!(error instanceof NexusError)) throw error
          expect(error.kind).toBe('damage')
        }
      }),
      { numRuns: 2000 },
    )
  })
})

describe('checkAgainstSums', () => {
  const part = { name: 'blocks.idx', role: 'index' as const, bytes: 1, sha256: sha256('x') }
  const manifest = exampleManifest({ parts: [part] })
  const run = (sums: [string, string][]) => () => checkAgainstSums(manifest, new Map(sums), manifest.id)

  test('wants exactly the parts and the manifest, with the same digests', () => {
    expect(
      run([
        ['manifest.json', sha256('')],
        ['blocks.idx', part.sha256],
      ]),
    ).not.toThrow()
    expect(run([['manifest.json', sha256('')]])).toThrow('says nothing of "blocks.idx"')
    expect(run([['blocks.idx', part.sha256]])).toThrow('says nothing of "manifest.json"')
    expect(
      run([
        ['manifest.json', sha256('')],
        ['blocks.idx', sha256('y')],
      ]),
    ).toThrow('differs')
    expect(
      run([
        ['manifest.json', sha256('')],
        ['blocks.idx', part.sha256],
        ['more', sha256('')],
      ]),
    ).toThrow('names "more"')
  })
})
