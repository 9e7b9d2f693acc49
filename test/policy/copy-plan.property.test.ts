import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type CopyMember, planCopy } from '../../src/policy/copy-plan.js'

/** A history as create makes one: increments stand on what came before, the clock may be set back. */
const histories = fc
  .array(
    fc.record({ full: fc.boolean(), back: fc.nat(9), step: fc.integer({ min: -3, max: 10 }), broken: fc.boolean() }),
    { minLength: 1, maxLength: 25 },
  )
  .map(wishes => {
    let at = 1000
    const members: CopyMember[] = []
    const broken = new Map<string, string>()
    for (const [index, wish] of wishes.entries()) {
      at += wish.step
      const parent = wish.full || index === 0 ? undefined : members[Math.max(0, index - 1 - wish.back)]
      const member = {
        id: `b${String(index + 1).padStart(3, '0')}`,
        sequence: index + 1,
        parent: parent?.id ?? null,
        at,
      }
      members.push(member)
      if (wish.broken || (parent !== undefined && broken.has(parent.id))) broken.set(member.id, 'damaged')
    }
    return { members, broken }
  })

const none = { broken: new Map<string, string>(), present: [], taken: new Set<string>() }

describe('a plan of copies', () => {
  it('copies parents before children, nothing broken, nothing that is there, and leaves no chain open', () => {
    fc.assert(
      fc.property(histories, fc.infiniteStream(fc.boolean()), ({ members, broken }, kept) => {
        // The other repository has seen the first half, and its retention has retired some whole chains of it.
        const half = members.slice(0, Math.floor(members.length / 2)).filter(({ id }) => !broken.has(id))
        const roots = new Map(half.map(member => [member.id, member.parent]))
        const rootOf = (id: string): string => {
          const parent = roots.get(id)
          return parent == null ? id : rootOf(parent)
        }
        const keeps = new Map<string, boolean>()
        const present = half.filter(({ id }) => {
          const root = rootOf(id)
          if (!keeps.has(root)) keeps.set(root, kept.next().value === true)
          return keeps.get(root)
        })
        const taken = new Set(present.map(({ id }) => id))
        const plan = planCopy({ origin: members, broken, present, taken })
        if (plan.diverged !== null) return
        const there = new Set(taken)
        for (const { id, parent } of plan.copy) {
          expect(broken.has(id)).toBe(false)
          expect(there.has(id)).toBe(false)
          if (parent !== null) expect(there.has(parent)).toBe(true)
          there.add(id)
        }
        const newest = Math.max(0, ...present.map(({ sequence }) => sequence))
        for (const member of members) {
          if (member.sequence > newest && !broken.has(member.id)) expect(there.has(member.id)).toBe(true)
        }
        // Run again, nothing is left to do.
        const again = planCopy({
          origin: members,
          broken,
          present: members.filter(({ id }) => there.has(id)),
          taken: there,
        })
        expect(again.copy).toEqual([])
      }),
    )
  })

  it('does not bring back what the other repository has retired', () => {
    const [first, second, third] = three()
    const plan = planCopy({ ...none, origin: [first, second, third], present: [second], taken: new Set(['b2']) })
    expect(plan.copy.map(({ id }) => id)).toEqual(['b3'])
  })

  it('brings back what a newer backup needs', () => {
    const [first, second, third] = three()
    const needy = { ...third, parent: 'b1' }
    const plan = planCopy({ ...none, origin: [first, second, needy], present: [second], taken: new Set(['b2']) })
    expect(plan.copy.map(({ id }) => id)).toEqual(['b1', 'b3'])
  })

  it('names what it leaves because it is broken', () => {
    const [first, second] = three()
    const plan = planCopy({ ...none, origin: [first, second], broken: new Map([['b2', 'no manifest']]) })
    expect(plan.left).toEqual([{ id: 'b2', problem: 'no manifest' }])
    expect(plan.copy).toEqual([first])
  })

  it('sees an origin that was begun anew by its numbers, which would stand before an older state', () => {
    const old = { id: 'old', sequence: 57, parent: null, at: 500 }
    const anew = { id: 'new', sequence: 1, parent: null, at: 900 }
    const plan = planCopy({ ...none, origin: [anew], present: [old], taken: new Set(['old']) })
    expect(plan.copy).toEqual([])
    expect(plan.diverged).toEqual({ newest: old, behind: anew })
  })

  it('never overwrites a damaged backup there, and copies what is newer', () => {
    const [first, second, third] = three()
    const plan = planCopy({ ...none, origin: [first, second, third], present: [first], taken: new Set(['b1', 'b2']) })
    expect(plan.copy.map(({ id }) => id)).toEqual(['b3'])
  })
})

function three(): [CopyMember, CopyMember, CopyMember] {
  const member = (number: number) => ({ id: `b${number}`, sequence: number, parent: null, at: number * 100 })
  return [member(1), member(2), member(3)]
}
