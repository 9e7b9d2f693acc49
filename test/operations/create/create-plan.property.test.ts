import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type CreatePlanInput, planCreate, planForCaptured } from '../../../src/operations/create/create-plan.js'
import type { BackupType, Manifest } from '../../../src/repository/manifest.js'

const hour = 3600_000
const day = 24 * hour
const began = Date.UTC(2025, 10, 1)
const identity = { kind: 'sqlite' as const, device: 1, inode: 2, page_size: 4096 }

/** What planning looks at; the rest of a manifest is of no matter to it. */
function member(sequence: number, type: BackupType, parent: string | null, wishes: Partial<Manifest> = {}): Manifest {
  const captured_at = new Date(began + sequence * hour).toISOString()
  const common = { sequence, type, parent, captured_at, bytes_stored: 100, digest_algorithm: 'xxh3-128' as const }
  return { id: `b${sequence}`, kind: 'sqlite', facts: { ...identity }, ...common, ...wishes } as Manifest
}

function planFor(wishes: Partial<CreatePlanInput>): ReturnType<typeof planCreate> {
  return planCreate({
    requested: 'auto',
    manifests: [],
    damaged: new Set(),
    identity,
    digestAlgorithm: 'xxh3-128',
    policy: { maxAge: 7 * day, maxLength: 100, maxRatio: 1000 },
    adopted: false,
    now: new Date(began + 3 * day),
    ...wishes,
  })
}

/** Any history: backups on earlier ones, on none, on later ones, and some that are damaged. */
const histories = fc
  .array(
    fc.record({
      type: fc.constantFrom<BackupType>('full', 'diff', 'incr', 'incr'),
      back: fc.integer({ min: -1, max: 5 }),
      damaged: fc.boolean(),
      bytes: fc.integer({ min: 1, max: 1000 }),
      early: fc.boolean(),
    }),
    { maxLength: 25 },
  )
  .map(steps => {
    const manifests = steps.map(({ type, back, bytes, early }, index) => {
      const parent = type === 'full' ? null : `b${index + 1 - back}`
      const captured_at = new Date(began + (early ? -index : index) * hour).toISOString()
      return member(index + 1, type, parent, { bytes_stored: bytes, captured_at })
    })
    const damaged = new Set(steps.flatMap((step, index) => (step.damaged && index % 3 === 0 ? [`b${index + 1}`] : [])))
    return { manifests, damaged }
  })

const requests = fc.constantFrom('auto' as const, 'full' as const, 'diff' as const, 'incr' as const)

/** The chain from its full to a backup, or null when it cannot be restored. */
function chainTo(wanted: Manifest, manifests: readonly Manifest[], damaged: ReadonlySet<string>): Manifest[] | null {
  const chain = [wanted]
  for (let at = wanted; at.type !== 'full'; ) {
    const parent = manifests.find(({ id }) => id === at.parent)
    if (parent === undefined || parent.sequence >= at.sequence) return null
    chain.unshift(parent)
    at = parent
  }
  return chain.some(({ id }) => damaged.has(id)) ? null : chain
}

describe('the plan of a create', () => {
  it('never builds on what cannot be restored, nor on anything but the newest that can', () => {
    fc.assert(
      fc.property(histories, requests, ({ manifests, damaged }, requested) => {
        const { type, parent } = planFor({ manifests, damaged, requested })
        expect(parent === null).toBe(type === 'full')
        if (requested === 'full') expect(type).toBe('full')
        if (parent === null) return
        expect(chainTo(parent, manifests, damaged)).not.toBeNull()
        if (type === 'diff') expect(parent.type).toBe('full')
        const usable = manifests.filter(manifest => chainTo(manifest, manifests, damaged) !== null)
        const candidates = usable.filter(manifest => type !== 'diff' || manifest.type === 'full')
        expect(parent.sequence).toBe(Math.max(...candidates.map(({ sequence }) => sequence)))
      }),
      { numRuns: 500 },
    )
  })

  it('depends on the order of sequence alone, not on the order in which manifests are read', () => {
    fc.assert(
      fc.property(histories, requests, fc.infiniteStream(fc.nat()), ({ manifests, damaged }, requested, numbers) => {
        const shuffled = manifests
          .map(manifest => ({ manifest, key: numbers.next().value }))
          .sort((a, b) => a.key - b.key)
          .map(({ manifest }) => manifest)
        expect(planFor({ manifests: shuffled, damaged, requested })).toEqual(planFor({ manifests, damaged, requested }))
      }),
    )
  })

  it('makes what was asked for, or a full that says why', () => {
    fc.assert(
      fc.property(histories, fc.constantFrom('diff' as const, 'incr' as const), ({ manifests, damaged }, requested) => {
        const { type, warnings } = planFor({ manifests, damaged, requested })
        if (type === 'full') expect(warnings.join()).toContain('made a full: ')
        else expect(type).toBe(requested)
      }),
    )
  })

  it('keeps every chain within the limits of the policy when it chooses by itself', () => {
    const policies = fc.record({
      maxAge: fc.integer({ min: 1, max: 40 }).map(hours => hours * hour),
      maxLength: fc.integer({ min: 1, max: 8 }),
      maxRatio: fc.constantFrom(0, 0.1, 0.5, 2),
    })
    const sizes = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 60 })
    fc.assert(
      fc.property(policies, sizes, (policy, increments) => {
        const manifests: Manifest[] = []
        for (const [index, bytes] of increments.entries()) {
          const now = new Date(began + (index + 1) * hour)
          const { type, parent } = planFor({ manifests, policy, now })
          const stored = type === 'full' ? 100 : bytes
          manifests.push(member(index + 1, type, parent?.id ?? null, { bytes_stored: stored }))
        }
        for (const last of manifests) {
          const chain = chainTo(last, manifests, new Set()) ?? []
          const [full] = chain
          const before = chain.slice(1, -1)
          expect(chain.length).toBeLessThanOrEqual(policy.maxLength)
          if (chain.length === 1) continue
          expect(Date.parse(last.captured_at) - Date.parse(full?.captured_at ?? '')).toBeLessThanOrEqual(policy.maxAge)
          expect(before.reduce((sum, { bytes_stored }) => sum + bytes_stored, 0)).toBeLessThanOrEqual(
            100 * policy.maxRatio,
          )
        }
      }),
    )
  })

  it.each([
    ['the page size changed', { identity: { ...identity, page_size: 8192 } }, 'page size changed from 4096 to 8192'],
    ['the file was replaced', { identity: { ...identity, inode: 3 } }, 'replaced'],
    ['the file lies on another disk', { identity: { ...identity, device: 9 } }, 'replaced'],
    ['the digests are made in another way', { digestAlgorithm: 'sha256-128' as const }, 'digest algorithm'],
    ['the source was adopted', { adopted: true }, 'adopted'],
    ['every chain is damaged', { damaged: new Set(['b1']) }, 'damaged'],
  ])('is a full, and says so, when %s', (_, wishes, why) => {
    const manifests = [member(1, 'full', null), member(2, 'incr', 'b1')]
    for (const requested of ['auto', 'diff', 'incr'] as const) {
      const plan = planFor({ manifests, requested, ...wishes })
      expect(plan).toMatchObject({ type: 'full', parent: null })
      expect(plan.warnings.join()).toContain(why)
    }
  })

  it('is a quiet full when there is nothing yet, or when it is time for one', () => {
    expect(planFor({})).toMatchObject({ type: 'full', warnings: [] })
    const late = planFor({ manifests: [member(1, 'full', null)], now: new Date(began + 9 * day) })
    expect(late).toMatchObject({ type: 'full', warnings: [] })
    expect(late.reason).toContain('7 days')
  })

  it('only warns of a clock that was set back', () => {
    const future = member(1, 'full', null, { captured_at: new Date(began + 300 * day).toISOString() })
    const plan = planFor({ manifests: [future, member(2, 'incr', 'b1')], requested: 'incr' })
    expect(plan).toMatchObject({ type: 'incr', parent: { id: 'b2' } })
    const first = planFor({ manifests: [future], requested: 'incr' })
    expect(first).toMatchObject({ type: 'incr', parent: { id: 'b1' } })
    expect(first.warnings.join()).toContain('clock was set back')
  })

  it('goes around a damaged latest backup and says so', () => {
    const manifests = [member(1, 'full', null), member(2, 'incr', 'b1'), member(3, 'incr', 'b2')]
    const plan = planFor({ manifests, damaged: new Set(['b3']) })
    expect(plan).toMatchObject({ type: 'incr', parent: { id: 'b2' } })
    expect(plan.warnings.join()).toContain('b3')
  })
})

describe('a plan whose database changed before it was captured', () => {
  const parent = member(1, 'full', null)
  const planned = planFor({ manifests: [parent] })

  it.each([
    ['its page size', { ...identity, page_size: 512 }, 'page size changed from 4096 to 512'],
    ['its file', { ...identity, inode: 3 }, 'replaced'],
  ])('by %s becomes a full', (_, captured, why) => {
    expect(planned).toMatchObject({ type: 'incr', parent: { id: parent.id } })
    const settled = planForCaptured(planned, captured)
    expect(settled).toMatchObject({ type: 'full', parent: null })
    expect(settled.warnings.at(-1)).toContain(why)
  })

  it('stays as it is when nothing changed', () => {
    expect(planForCaptured(planned, identity)).toBe(planned)
  })
})
