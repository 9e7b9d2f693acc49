import type { KeepPolicy } from '../config/settings.js'
import { calendarOf, type Period, periods } from './calendar.js'

/** A restorable backup as the rules see it. */
export interface Candidate {
  id: string
  sequence: number
  /** Captured at, milliseconds since 1970 UTC. */
  at: number
}

/** What one rule makes of some backups: those it keeps with the reason, and why it lets another go. */
export interface Selection {
  kept: ReadonlyMap<string, string>
  whyNot(candidate: Candidate): string
}

/** A rule looks at all candidates by itself: what another rule keeps does not use up its count (as in restic). */
export type Rule = (candidates: readonly Candidate[]) => Selection

/**
 * The rules of a policy; none when nothing in it keeps anything.
 * @param latest the instant that `within` counts back from, milliseconds
 */
export function rulesOf(policy: KeepPolicy, timezone: string, latest: number): Rule[] {
  const calendar = calendarOf(timezone)
  const rules: Rule[] = []
  if (isPositive(policy.last)) rules.push(lastRule(policy.last))
  for (const period of periods) {
    const count = policy[period]
    if (isPositive(count)) rules.push(calendarRule(period, count, calendar[period]))
  }
  if (isPositive(policy.within)) rules.push(withinRule(latest - policy.within))
  return rules
}

/** Whether a policy keeps nothing by itself. */
export function isEmptyPolicy(policy: KeepPolicy): boolean {
  return ![policy.last, policy.within, ...periods.map(period => policy[period])].some(isPositive)
}

function isPositive(count: number | undefined): count is number {
  return count !== undefined && count > 0
}

const units: Readonly<Record<Period, string>> = {
  hourly: 'hour',
  daily: 'day',
  weekly: 'week',
  monthly: 'month',
  yearly: 'year',
}

function lastRule(count: number): Rule {
  return candidates => {
    const kept = new Map<string, string>()
    for (const newestFirst of orders(candidates)) {
      for (const { id } of newestFirst.slice(0, count)) kept.set(id, `last ${count}`)
    }
    return { kept, whyNot: () => `last: not among the newest ${count}` }
  }
}

function calendarRule(period: Period, count: number, nameOf: (instant: number) => string): Rule {
  const unit = units[period]
  return candidates => {
    const kept = new Map<string, string>()
    const names = new Map(candidates.map(({ id, at }) => [id, nameOf(at)]))
    const counted = new Set<string>()
    for (const newestFirst of orders(candidates)) {
      const seen = new Set<string>()
      for (const { id } of newestFirst) {
        if (seen.size >= count) break
        const name = names.get(id) ?? ''
        if (seen.has(name)) continue
        seen.add(name)
        counted.add(name)
        kept.set(id, `${period} ${name}`)
      }
    }
    return {
      kept,
      whyNot({ id }) {
        const name = names.get(id) ?? ''
        if (counted.has(name)) return `${period}: not the newest of ${name}`
        return `${period}: ${name} is not among the newest ${count} ${unit}${count === 1 ? '' : 's'} with a backup`
      },
    }
  }
}

/**
 * Everything from the first backup captured inside the window on, in order of sequence: what was made after it
 * is younger, whatever a clock set back has written on it.
 */
function withinRule(from: number): Rule {
  const since = instantText(from)
  return candidates => {
    const oldestFirst = [...candidates].sort((a, b) => bySequence(b, a))
    const first = oldestFirst.findIndex(({ at }) => at >= from)
    const inside = first === -1 ? [] : oldestFirst.slice(first)
    return {
      kept: new Map(inside.map(({ id }) => [id, `within, since ${since}`])),
      whyNot: () => `within: captured before ${since}`,
    }
  }
}

/**
 * Newest first by sequence, and newest first by captured at. They are the same unless a clock jumped; then a rule
 * keeps what either order would, so a wrong clock can add to what is kept but never take a place from another.
 */
function orders(candidates: readonly Candidate[]): Candidate[][] {
  return [[...candidates].sort(bySequence), [...candidates].sort((a, b) => b.at - a.at || bySequence(a, b))]
}

function bySequence(a: Candidate, b: Candidate): number {
  return b.sequence - a.sequence || (a.id < b.id ? 1 : a.id > b.id ? -1 : 0)
}

/** A `within` of thousands of years leaves what a Date can say. */
function instantText(instant: number): string {
  const date = new Date(instant)
  return Number.isNaN(date.getTime()) ? 'ever' : date.toISOString()
}
