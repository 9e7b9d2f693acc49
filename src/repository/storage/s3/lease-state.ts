import { randomBytes } from 'node:crypto'
import * as v from 'valibot'
import { NexusError } from '../../../errors.js'
import { parseOutsideJson, prettyJson } from '../../json.js'
import { quoted } from '../../layout.js'
import { FORMAT } from '../../manifest.js'
import type { LockMode, LockName } from '../locks.js'

/** Bytes a state may have: there are never many holders. */
export const leaseLimit = 256 * 1024

const text = v.pipe(v.string(), v.maxLength(1024))
const instant = v.pipe(v.string(), v.isoTimestamp())
const holderSchema = v.looseObject({
  lock: v.picklist(['writer', 'delete']),
  mode: v.picklist(['exclusive', 'shared']),
  /** Random: who holds it knows it again by this. */
  token: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
  host: text,
  user: text,
  pid: v.pipe(v.number(), v.integer(), v.minValue(1)),
  purpose: text,
  /** What tells processes of this boot and process table from those of all others; null where the system has no such name. */
  machine: v.nullable(text),
  /** By the server's clock. */
  since: instant,
  renewed: instant,
})
const stateSchema = v.looseObject({
  format: v.literal(FORMAT),
  holders: v.pipe(v.array(holderSchema), v.maxLength(500)),
})

/** One who holds a lock of a source, in one state of its row. */
export type Holder = v.InferOutput<typeof holderSchema>

export function formatLease(holders: readonly Holder[]): Buffer {
  return prettyJson({ format: FORMAT, holders })
}

/**
 * The holders by a state. One who renewed after the store has written the state is left out: nobody's clock but the
 * store's may say how long a lease lasts.
 *
 * @param written when the store wrote the state, by its own clock; null where it is not known
 * @throws NexusError damage `lease_damaged`; failed `lease_newer` for the state of a later version of this program
 */
export function parseLease(bytes: Uint8Array, where: string, written: Date | null = null): Holder[] {
  try {
    const state = parseOutsideJson(bytes)
    const { format } = v.parse(v.looseObject({ format: v.number() }), state)
    if (format > FORMAT) throw newerLease(where, format)
    const { holders } = v.parse(stateSchema, state)
    return written === null ? holders : holders.filter(({ renewed }) => Date.parse(renewed) - +written < CLOCK_STEP_MS)
  } catch (cause) {
    if (cause instanceof NexusError && cause.code === 'lease_newer') throw cause
    throw new NexusError('damage', 'lease_damaged', `${where} is not a lease of nexus-backup`, {
      cause,
      hint: 'find out who wrote it; when no nexus-backup runs, remove it',
    })
  }
}

/** How far the clocks of a store's machines may lie apart. */
const CLOCK_STEP_MS = 60_000

function newerLease(where: string, format: number): NexusError {
  return new NexusError('failed', 'lease_newer', `${where} is of format ${format}, which this version does not know`, {
    hint: 'a newer nexus-backup works on this repository: install that version here too',
  })
}

/** Whether a holder keeps another from taking a lock. */
export function isInTheWay({ lock, mode }: Holder, wanted: { lock: LockName; mode: LockMode }): boolean {
  return lock === wanted.lock && (mode === 'exclusive' || wanted.mode === 'exclusive')
}

/** Whether a holder has not renewed its lease for longer than it lasts, by the server's clock. */
export function isExpired({ renewed }: Holder, serverNow: Date, leaseMs: number): boolean {
  return serverNow.getTime() - Date.parse(renewed) > leaseMs
}

/** What tells how long those on other machines hold what they have: nobody here can see whether they still run. */
export interface Foreign {
  machine: string | null
  serverNow: Date
  leaseMs: number
}

/**
 * The holders in words: `create itsm (user root, process 4711 on db1, since 2025-11-03T03:00:00Z)`; of one on another
 * machine also when its lease ends, should it have died.
 */
export function describeLeases(holders: readonly Holder[], foreign: Foreign): string {
  if (holders.length === 0) return 'another run'
  const words = holders.slice(0, 3).map(holder => describe(holder, foreign))
  return holders.length > 3 ? `${words.join(', ')} and ${holders.length - 3} more` : words.join(' and ')
}

function describe({ purpose, user, pid, host, since, renewed, machine }: Holder, foreign: Foreign): string {
  const who = `${plain(purpose)} (user ${plain(user)}, process ${pid} on ${plain(host)}, since ${seconds(since)}`
  if (machine !== null && machine === foreign.machine) return `${who})`
  const end = Date.parse(renewed) + foreign.leaseMs
  const left = Math.max(0, Math.ceil((end - foreign.serverNow.getTime()) / 1000))
  return `${who}, unless renewed until ${seconds(new Date(end).toISOString())}, in ${left} seconds)`
}

function seconds(instant: string): string {
  return `${instant.slice(0, 19)}Z`
}

function plain(words: string): string {
  return /^[\w .,:@/+-]{1,120}$/.test(words) ? words : quoted(words)
}

/** States are numbered in a row; names sort as their numbers do. */
const DIGITS = 16

export function leaseName(number: number): string {
  return String(number).padStart(DIGITS, '0')
}

/**
 * The name of a state on a store without conditional writes: of its own for each who writes it, so that nobody
 * overwrites another's.
 */
export function ownLeaseName(number: number): string {
  return `${leaseName(number)}.${randomBytes(16).toString('hex')}`
}

/** No row gets this far by itself; above it numbers could no longer be counted exactly. */
export const lastLease = 2 ** 52

/** The number of a state's name; undefined for anything else, also for a number that no row can reach. */
export function leaseNumber(name: string): number | undefined {
  const [, digits] = /^(\d{16})(?:\.[0-9a-f]{32})?$/.exec(name) ?? []
  const number = digits === undefined ? undefined : Number(digits)
  return number !== undefined && number <= lastLease ? number : undefined
}
