import fc from 'fast-check'
import { expect, test } from 'vitest'
import { noPaint } from '../../../src/cli/output/colour.js'
import { renderVerify } from '../../../src/cli/output/render-verify.js'
import type { VerifiedBackup } from '../../../src/operations/results.js'
import { nameAffected } from '../../../src/operations/verify/affected.js'
import type { Manifest } from '../../../src/repository/manifest.js'

type Member = Pick<Manifest, 'id' | 'sequence' | 'parent' | 'type'>

function member(sequence: number, parent: number | null): Member {
  const id = `b${String(sequence).padStart(5, '0')}`
  return {
    id,
    sequence,
    parent: parent === null ? null : `b${String(parent).padStart(5, '0')}`,
    type: parent === null ? 'full' : 'incr',
  }
}

/** Verifies members of which some are damaged themselves; what stands on a damaged one is damaged too. */
function resultsOf(members: readonly Member[], broken: ReadonlySet<string>): VerifiedBackup[] {
  const damaged = new Set<string>()
  return members.map(({ id, parent }) => {
    const findings = [
      ...(broken.has(id) ? [{ part: 'blocks.zst', problem: 'is missing' }] : []),
      ...(parent !== null && damaged.has(parent)
        ? [{ part: 'chain', problem: `needs ${parent}, which is damaged` }]
        : []),
    ]
    const status = findings.length > 0 ? 'damaged' : 'ok'
    if (status === 'damaged') damaged.add(id)
    return { id, source: 'itsm', status, level: 'content', findings, affects: [] }
  })
}

const forest = fc
  .array(fc.record({ parent: fc.nat(), isFull: fc.boolean(), isBroken: fc.boolean() }), { maxLength: 40 })
  .map(drawn => ({
    members: drawn.map(({ parent, isFull }, n) => member(n, n === 0 || isFull ? null : parent % n)),
    broken: new Set(drawn.flatMap(({ isBroken }, n) => (isBroken ? [member(n, null).id] : []))),
  }))

test('each damaged chain says once what it takes down, all of it, and points there', () => {
  fc.assert(
    fc.property(forest, ({ members, broken }) => {
      const results = resultsOf(members, broken)
      nameAffected(results, members as Manifest[])
      const byId = new Map(members.map(one => [one.id, one]))
      const named = new Map<string, string>()
      for (const { id, affects, cause, status } of results) {
        if (status !== 'damaged') expect(affects).toEqual([])
        else if (cause !== undefined) expect(affects).toEqual([id])
        else for (const other of affects) named.set(other, id)
      }
      for (const { id, status, cause } of results) {
        if (status === 'ok') continue
        // The damaged one nearest to the full.
        let root = id
        for (let at = byId.get(id); at !== undefined; at = byId.get(at.parent ?? '')) {
          if (broken.has(at.id)) root = at.id
        }
        expect(named.get(id)).toBe(root)
        expect(cause).toBe(root === id ? undefined : root)
      }
    }),
    { numRuns: 300 },
  )
})

test('the report of a damaged chain of 2,000 stays as long as the chain', () => {
  const members = Array.from({ length: 2000 }, (_, n) => member(n, n === 0 ? null : n - 1))
  for (const broken of [new Set([member(0, null).id]), new Set(members.map(({ id }) => id))]) {
    const results = resultsOf(members, broken)
    nameAffected(results, members as Manifest[])
    expect(JSON.stringify(results).length).toBeLessThan(2000 * 400)
    const text = renderVerify({ command: 'verify', results }, noPaint)
    expect(text.length).toBeLessThan(1000)
    expect(text).toContain('cannot be restored either: b00001, b00002, b00003 and 1996 more')
  }
})

test('many of a kind are three lines and a number', () => {
  const findings = Array.from({ length: 50 }, (_, n) => ({ part: 'blocks.zst', problem: `frame ${n} differs` }))
  const results = Array.from({ length: 9 }, (_, n) => ({
    ...{ id: `a${n}`, source: 'itsm', status: 'damaged' as const, level: 'content' as const },
    ...{ findings, affects: [`a${n}`] },
  }))
  const text = renderVerify({ command: 'verify', results }, noPaint)
  expect(text.split('\n').slice(0, 5)).toEqual([
    'itsm: a0 damaged (content)',
    ...['0', '1', '2'].map(n => `  blocks.zst: frame ${n} differs`),
    '  blocks.zst: and 47 more',
  ])
  expect(text).toMatch(/a2 damaged[\s\S]*\nitsm: damaged: and 6 more; --json names them all\n$/)
})
