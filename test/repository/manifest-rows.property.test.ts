import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Manifest } from '../../src/repository/manifest.js'
import { fromRows, toRows } from '../../src/repository/manifest-rows.js'
import { exampleManifest } from './manifests.js'

/** Values that could be taken for a number of a row, and such that several manifests hold. */
const value = fc.oneof(
  fc.constantFrom<unknown>(0, 1, null, true, '', '0', [], {}, [0], { a: 0 }, ['/srv'], { b: [1, { c: null }] }),
  fc.jsonValue(),
)
const fields = fc.dictionary(
  fc.constantFrom('label', 'note', 'facts2', 'tree', 'x y', 'ü', 'toString', '__proto__'),
  value,
)

it('manifests are the same after they were in rows', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ own: fields, facts: fields }), { maxLength: 12 }), made => {
      const manifests = made.map(({ own, facts }, n) => ({ ...exampleManifest({ sequence: n + 1 }), ...own, facts }))
      const rows = JSON.parse(JSON.stringify(toRows(manifests as Manifest[])))
      // Facts are the last of a manifest that comes out of a row.
      const wanted = manifests.map(({ facts, ...own }) => ({ ...own, facts }))
      expect(fromRows(rows).map(one => JSON.stringify(one))).toEqual(wanted.map(one => JSON.stringify(one)))
    }),
    { numRuns: 60 },
  )
})

it('what many manifests hold stands once for all of them', () => {
  const facts = { roots: ['/srv/a/long/path/of/a/directory', '/srv/another'], mounts: 'x' }
  const manifests = Array.from({ length: 100 }, (_, n) => ({ ...exampleManifest({ sequence: n + 1 }), facts }))
  const { shapes, values } = toRows(manifests)
  expect([shapes.length, values.filter(one => JSON.stringify(one) === JSON.stringify(facts.roots)).length]).toEqual([
    1, 1,
  ])
  expect(JSON.stringify(toRows(manifests)).length * 2).toBeLessThan(JSON.stringify(manifests).length)
})
