import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { planRetention } from '../../src/policy/retention.js'
import { type JudgedMember, judgeTrust, type TrustInput, type Verdict } from '../../src/policy/trust.js'
import { deleted, idOf, inputOf, kept, somePolicy } from './histories.js'

interface Member extends JudgedMember {
  keep_until: null
}

const began = Date.UTC(2025, 9, 10)
const at = (hours: number) => new Date(began + hours * 3_600_000).toISOString()

/** What a repository's owner made: some backups in plain, then encrypted ones, one of an hour. */
const genuine = fc.record({ plain: fc.nat(5), sealed: fc.integer({ min: 1, max: 8 }) }).map(({ plain, sealed }) => {
  const members: Member[] = []
  for (let n = 1; n <= plain + sealed; n += 1) {
    const captured_at = at(n - plain - 0.5)
    const own = { id: idOf(captured_at, 'full', n), sequence: n, type: 'full' as const, parent: null, captured_at }
    members.push({ ...own, keep_until: null, ...(n > plain ? { encryption: {} } : {}) })
  }
  return { members, plain }
})

/** What somebody without a key adds, whatever it says of itself. */
const forgeries = fc.array(
  fc.record({
    sequence: fc.oneof(fc.nat(20), fc.constant(Number.MAX_SAFE_INTEGER)),
    hours: fc.integer({ min: -50, max: 50 }),
    kind: fc.constantFrom('plain', 'stranger', 'badly-signed'),
    parent: fc.nat(12),
    isFull: fc.boolean(),
  }),
  { maxLength: 8 },
)

type Forgery = typeof forgeries extends fc.Arbitrary<(infer T)[]> ? T : never

function forged({ sequence, hours, kind, parent, isFull }: Forgery, number: number, others: readonly Member[]): Member {
  const captured_at = at(hours)
  const type = isFull ? 'full' : 'incr'
  return {
    id: idOf(captured_at, type, 0x8000 + number),
    sequence,
    type,
    parent: isFull ? null : (others[parent % others.length]?.id ?? null),
    captured_at,
    keep_until: null,
    ...(kind === 'plain' ? {} : { encryption: {} }),
  }
}

function inputFor(members: readonly Member[], plain: number, wishes: Partial<Pick<TrustInput<Member>, 'known'>> = {}) {
  const signatures = new Map<string, Verdict>()
  for (const { id, encryption } of members)
    if (encryption !== undefined) signatures.set(id, { trust: 'ours', problem: '' })
  const beginning = { since: began, plainUpTo: plain }
  return { members, signatures, known: new Map<string, { sequence: number; isSame: boolean }>(), beginning, ...wishes }
}

describe('the judgement of trust', () => {
  it('finds all ours that the owner made, and nothing that somebody without a key added', () => {
    fc.assert(
      fc.property(genuine, forgeries, ({ members, plain }, wishes) => {
        const input = inputFor(members, plain)
        const added = wishes.map((wish, number) => ({ wish, member: forged(wish, number, members) }))
        for (const { wish, member } of added) {
          if (wish.kind === 'plain') continue
          input.signatures.set(member.id, { trust: wish.kind as Verdict['trust'], problem: 'is forged' })
        }
        // One in plain that claims a place among those from before the keys cannot be told from them: nothing was signed then.
        const dated = added.filter(
          ({ wish, member }) => wish.kind === 'plain' && wish.hours < 0 && member.sequence <= plain,
        )
        const judged = judgeTrust({ ...input, members: [...added.map(({ member }) => member), ...members] })
        const ours = judged.ours.map(({ id }) => id)
        expect(ours.filter(id => !dated.some(({ member }) => member.id === id))).toEqual(members.map(({ id }) => id))
        expect(judged.apart).toHaveLength(added.length - dated.length)
        for (const { trust, problem } of judged.apart) expect([trust, problem]).not.toContain('ours')
      }),
    )
  })

  it('lets prune decide as if nothing had been added', () => {
    fc.assert(
      fc.property(genuine, forgeries, somePolicy, ({ members, plain }, wishes, policy) => {
        const input = inputFor(members, plain)
        const later = wishes.map((wish, number) =>
          forged({ ...wish, sequence: wish.sequence + plain + 1 }, number, members),
        )
        for (const { id, encryption } of later) {
          if (encryption !== undefined) input.signatures.set(id, { trust: 'stranger', problem: 'is forged' })
        }
        const plan = (backups: readonly Member[]) => planRetention(inputOf([...backups], policy))
        const clean = plan(members)
        const judged = plan(judgeTrust({ ...input, members: [...later, ...members] }).ours)
        expect([kept(judged), deleted(judged)]).toEqual([kept(clean), deleted(clean)])
      }),
    )
  })

  it('takes none in plain for ours where this host remembers encrypted ones, though they and the keys are gone', () => {
    fc.assert(
      fc.property(genuine, ({ members }) => {
        const known = new Map(members.map(({ id, sequence }) => [id, { sequence, isSame: true }]))
        const plain = members.map(({ encryption: _, ...member }, n) => ({
          ...member,
          id: `${member.id}x`,
          sequence: n + 50,
        }))
        const input = { members: plain, signatures: new Map(), known, beginning: null }
        expect(judgeTrust(input).ours).toEqual([])
      }),
    )
  })

  it('takes another one than this host remembers for what is not signed', () => {
    fc.assert(
      fc.property(genuine, ({ members, plain }) => {
        const known = new Map(members.map(({ id, sequence }) => [id, { sequence, isSame: false }]))
        const { ours, apart } = judgeTrust(inputFor(members, plain, { known }))
        expect(ours).toEqual([])
        expect(new Set(apart.map(({ trust }) => trust))).toEqual(new Set(['badly-signed']))
      }),
    )
  })

  it('leaves a repository that never was encrypted as it is', () => {
    fc.assert(
      fc.property(genuine, ({ members }) => {
        const plain = members.map(({ encryption: _, ...member }) => member)
        const input = { members: plain, signatures: new Map(), known: new Map(), beginning: null }
        expect(judgeTrust(input)).toEqual({ ours: plain, apart: [] })
      }),
    )
  })
})
