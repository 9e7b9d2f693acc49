import fc from 'fast-check'
import type { KeepPolicy } from '../../src/config/settings.js'
import type { RetentionBackup, RetentionInput, RetentionPlan } from '../../src/policy/retention.js'

export const hour = 3600_000
export const day = 24 * hour

/** An id as the repository makes it, with the sequence for its last digits. */
export function idOf(capturedAt: string, type: string, sequence: number): string {
  const instant = new Date(capturedAt).toISOString().replaceAll('-', '').replaceAll(':', '')
  return `${instant}-${type}-${sequence.toString(16).padStart(4, '0')}`
}

/** A full backup. */
export function full(sequence: number, captured_at: string, wishes: Partial<RetentionBackup> = {}): RetentionBackup {
  return { id: `b${sequence}`, sequence, type: 'full', parent: null, captured_at, keep_until: null, ...wishes }
}

/** An incremental backup on another. */
export function incr(sequence: number, captured_at: string, parent: string): RetentionBackup {
  return full(sequence, captured_at, { type: 'incr', parent })
}

/** An input in which nothing is proven, damaged or empty, unless wished. */
export function inputOf(
  backups: RetentionBackup[],
  policy: KeepPolicy,
  wishes: Partial<RetentionInput> = {},
): RetentionInput {
  const nobody: ReadonlySet<string> = new Set()
  const now = new Date('2025-12-31T00:00:00Z')
  return { backups, policy, damaged: nobody, unsound: nobody, proven: nobody, timezone: 'UTC', now, ...wishes }
}

export function kept(plan: RetentionPlan): string[] {
  return plan.keep.map(({ id }) => id)
}

export function deleted(plan: RetentionPlan): string[] {
  return plan.delete.map(({ id }) => id)
}

/** One to three rules, tight enough to let most backups of a history go. */
export const somePolicy: fc.Arbitrary<KeepPolicy> = fc
  .uniqueArray(
    fc.oneof(
      fc.tuple(fc.constantFrom('last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'), fc.constantFrom(1, 2, 3, 5)),
      fc.tuple(fc.constant('within'), fc.constantFrom(hour, day, 5 * day, 30 * day)),
    ),
    { minLength: 1, maxLength: 3, selector: ([rule]) => rule },
  )
  .map(rules => Object.fromEntries(rules))

const zones = ['UTC', 'Asia/Tokyo', 'America/New_York', 'Europe/Berlin', 'Australia/Lord_Howe', 'Pacific/Apia']
const start = Date.UTC(2025, 9, 1)

function mostly<T>(usual: fc.Arbitrary<T>, weight: number, ...rare: fc.Arbitrary<T>[]): fc.Arbitrary<T> {
  return fc.oneof({ weight, arbitrary: usual }, ...rare.map(arbitrary => ({ weight: 1, arbitrary })))
}

/** What may be wrong with a backup: damaged with and without a manifest, hostile or missing parents, a sequence twice. */
const fates = ['damaged', 'lost', 'nameless', 'orphan', 'own parent', 'twin'] as const
type Fate = (typeof fates)[number] | 'fine'

const drawn = fc.record({
  /** How the clock moved: forward, not at all, or in a jump of years ahead or back. */
  step: mostly(
    fc.integer({ min: 1, max: 3 * day }),
    20,
    fc.constant(0),
    fc.integer({ min: -4000 * day, max: 4000 * day }),
  ),
  type: fc.constantFrom('full' as const, 'diff' as const, 'incr' as const, 'incr' as const),
  /** How far back the parent lies. */
  back: fc.constantFrom(1, 1, 1, 2, 5),
  fate: mostly<Fate>(fc.constant('fine'), 80, fc.constantFrom(...fates)),
  keep_until: mostly<string | null>(
    fc.constant(null),
    30,
    fc.constantFrom('forever', '2025-11-15T00:00:00.000Z', '2031-01-01T00:00:00.000Z'),
  ),
  isUnsound: mostly(fc.constant(false), 10, fc.constant(true)),
  isProven: mostly(fc.constant(false), 4, fc.constant(true)),
})

/** Histories with clock jumps, equal times, broken chains and damage, handed in in any order. */
export const someInput: fc.Arbitrary<RetentionInput> = fc
  .record({
    draws: fc.array(drawn, { minLength: 4, maxLength: 25, size: 'max' }),
    policy: somePolicy,
    timezone: fc.constantFrom(...zones),
    now: mostly(fc.integer({ min: 0, max: 100 }), 3, fc.integer({ min: -2000, max: 2000 })),
    turn: fc.nat(24),
  })
  .map(({ draws, policy, timezone, now, turn }) => {
    const backups: RetentionBackup[] = []
    const sets = { damaged: new Set<string>(), unsound: new Set<string>(), proven: new Set<string>() }
    let clock = start
    for (const [index, { step, type, fate, ...draw }] of draws.entries()) {
      clock = Math.max(0, clock + step)
      const captured_at = new Date(clock).toISOString()
      const id = idOf(captured_at, type, index)
      if (fate === 'damaged' || fate === 'lost') sets.damaged.add(id)
      if (draw.isUnsound) sets.unsound.add(id)
      if (draw.isProven) sets.proven.add(id)
      if (fate === 'lost') continue
      const before = fate === 'own parent' ? id : (backups.at(-draw.back)?.id ?? 'never-was')
      const named = fate === 'nameless' ? null : fate === 'orphan' ? 'never-was' : before
      const sequence = fate === 'twin' ? Math.max(1, index) : index + 1
      const parent = type === 'full' ? null : named
      backups.push({ id, sequence, type, parent, captured_at, keep_until: draw.keep_until })
    }
    const turned = [...backups.slice(turn), ...backups.slice(0, turn).reverse()]
    return { backups: turned, policy, timezone, now: new Date(start + now * day), ...sets }
  })
