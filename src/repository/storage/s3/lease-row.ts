import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { NexusError } from '../../../errors.js'
import type { Bucket } from './bucket.js'
import {
  formatLease,
  type Holder,
  lastLease,
  leaseLimit,
  leaseName,
  leaseNumber,
  ownLeaseName,
  parseLease,
} from './lease-state.js'
import { type Listed, listLevel } from './listing.js'
import { assertConditional, getSmall, holdsExactly, put, putOnce, removeIfAllowed } from './objects.js'

/** States that old are removed: nobody can be about to write one of their neighbours, however slow it is. */
const KEPT_MS = 3_600_000
/** The newest states stay whatever their age, so that numbers never begin anew. */
const KEPT_STATES = 5
/** Others who write at the same moment: each time one of us wins. */
const ATTEMPTS = 50
/** States looked through for one that can be read. */
const LOOKED_THROUGH = 20
/** Milliseconds after which those who wrote at the same moment try anew, drawn up to this, and look again. */
const RIVAL_PAUSE_MS = 200

/** Why a state is written. */
export type LeaseChange = 'take' | 'renew' | 'give back'

/**
 * A source's row of states `locks/SOURCE/N`, each written once (If-None-Match: *): who writes N+1 knew N. The newest one
 * tells who holds what.
 *
 * On a store without conditional writes each who writes N+1 gives it a name of its own, `N+1.RANDOM`, and lists the row
 * afterwards: who finds another N+1 withdraws and tries anew after a random pause. Of two at least the later sees the
 * other, where a listing shows all that was written before it began. Who reads waits until one is left; what a killed run
 * did not withdraw is held too, for it may be the one that counts.
 */
export class LeaseRow {
  readonly #bucket: Bucket
  readonly #directory: string
  readonly #withdrawalMs: number
  #known: { states: string; holders: Holder[] } | undefined
  /** Whether this process wrote what is known, and nobody has asked since. */
  #isOwn = false
  readonly #passedOver = new Set<string>()

  /** @param withdrawalMs how long a state may take to be withdrawn by one who still runs */
  constructor(bucket: Bucket, source: string, withdrawalMs: number) {
    this.#bucket = bucket
    this.#withdrawalMs = withdrawalMs
    this.#directory = `locks/${source}`
  }

  /** The present holders, the expired ones too. */
  async read(): Promise<Holder[]> {
    return (await this.#newest()).holders
  }

  /** Has the newest state be read anew by whoever asks next. */
  forget(): void {
    this.#known = undefined
    this.#isOwn = false
  }

  /** Objects in the row that are no states, and that the next lower one stood in for. */
  get passedOver(): readonly string[] {
    return [...this.#passedOver]
  }

  /**
   * Writes the state that follows the newest one.
   * @param change makes it of the holders by the newest; undefined: nothing is to be written
   * @param mine whose tokens tell that it was ours in case somebody else wrote a later one meanwhile
   * @param purpose of the change: for a lock that is taken the server shows anew that it writes only once; what is given
   *   back is not read again, for nobody relies on it
   * @returns whether a state was written
   * @throws NexusError failed `conditional_write_missing`, `lease_contended`, `lease_numbers_spent`, `lease_newer`
   */
  async advance(
    change: (holders: readonly Holder[]) => Holder[] | undefined,
    { mine, purpose }: { mine: (holders: readonly Holder[]) => boolean; purpose: LeaseChange },
  ): Promise<boolean> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const { number, holders, old } =
        (attempt === 0 && purpose === 'take' && this.#justWritten()) || (await this.#newest())
      const next = change(holders)
      if (next === undefined) return false
      if (number === lastLease) throw spent(this.#bucket.displayed(`${this.#directory}/${leaseName(number)}`))
      const bytes = formatLease(next)
      const state = await this.#write(number + 1, bytes)
      if (state === undefined) continue
      const path = `${this.#directory}/${state}`
      // Whoever slept between reading and writing may have written a number that was used and removed long ago.
      const [isConditional, isKept, { files }] = await Promise.all([
        this.#isConditional(path, bytes, purpose),
        purpose === 'give back' || holdsExactly(this.#bucket, path, bytes),
        listLevel(this.#bucket, this.#directory, leaseName(number)),
      ])
      if (isConditional !== true) {
        // The state would be believed by the next one who asks.
        await removeIfAllowed(this.#bucket, [path])
        throw isConditional
      }
      if (!isKept) continue
      if (statesOf(files, number + 1).some(other => other !== state)) {
        await removeIfAllowed(this.#bucket, [`${this.#directory}/${state}`])
        await sleep(randomInt(RIVAL_PAUSE_MS))
        continue
      }
      const newest = highestOf(files)
      if (newest > number + 1) {
        this.forget()
        if (!mine((await this.#newest()).holders)) continue
      } else {
        this.#known = { states: state, holders: next }
        this.#isOwn = true
      }
      await removeIfAllowed(this.#bucket, old)
      return true
    }
    throw new NexusError('failed', 'lease_contended', `the leases of ${this.#directory} change too fast for us`, {
      hint: 'run it again',
    })
  }

  /** Writes a state; returns its name, or undefined when that number is taken. */
  async #write(number: number, bytes: Buffer): Promise<string | undefined> {
    if (this.#bucket.locking === 'single-writer') {
      const state = ownLeaseName(number)
      await put(this.#bucket, `${this.#directory}/${state}`, bytes)
      return state
    }
    const state = leaseName(number)
    return (await putOnce(this.#bucket, `${this.#directory}/${state}`, bytes)) ? state : undefined
  }

  /**
   * The state that this process wrote last, as long as nobody can have written over it unseen: who takes another lock right
   * away writes the next number only where nobody else has.
   */
  #justWritten(): { number: number; holders: Holder[]; old: string[] } | undefined {
    const isOwn = this.#isOwn
    // Only once: who waits for another looks anew each time.
    this.#isOwn = false
    if (!isOwn || this.#known === undefined || this.#bucket.locking === 'single-writer') return undefined
    const number = leaseNumber(this.#known.states)
    return number === undefined ? undefined : { number, holders: this.#known.holders, old: [] }
  }

  /** The newest state; and those that are so old that they can go. */
  async #newest(): Promise<{ number: number; holders: Holder[]; old: string[] }> {
    const files = await this.#settled()
    const number = highestOf(files)
    const old = oldOf(files, number, this.#bucket.serverNow()).map(({ name }) => `${this.#directory}/${name}`)
    if (number === 0) return { number, holders: [], old }
    const states = statesOf(files, number).join()
    if (this.#known?.states === states) return { number, holders: this.#known.holders, old }
    const holders = await this.#readable(files)
    this.#known = { states, holders }
    return { number, holders, old }
  }

  /** The row, once nobody is about to withdraw what was written at the same moment. A killed run never does. */
  async #settled(): Promise<Listed[]> {
    for (;;) {
      const { files } = await listLevel(this.#bucket, this.#directory)
      const states = statesOf(files, highestOf(files))
      const newest = files.filter(({ name }) => states.includes(name)).map(({ modified }) => modified.getTime())
      const age = this.#bucket.serverNow().getTime() - Math.max(...newest)
      if (states.length < 2 || age > this.#withdrawalMs) return files
      await sleep(randomInt(RIVAL_PAUSE_MS))
    }
  }

  /**
   * The holders by the newest state that can be read. Whoever can put an object here could put a state without holders
   * as well: garbage must not do more. A holder who is no longer in the row finds that at the next renewal, and stops.
   */
  async #readable(files: readonly Listed[]): Promise<Holder[]> {
    const states = files.filter(({ name }) => leaseNumber(name) !== undefined)
    states.sort((a, b) => (leaseNumber(b.name) ?? 0) - (leaseNumber(a.name) ?? 0))
    const held = new Map<string, Holder>()
    let read: number | undefined
    for (const { name, modified } of states.slice(0, LOOKED_THROUGH)) {
      if (read !== undefined && leaseNumber(name) !== read) break
      const path = `${this.#directory}/${name}`
      try {
        const bytes = await getSmall(this.#bucket, path, leaseLimit)
        for (const holder of parseLease(bytes, this.#bucket.displayed(path), modified)) held.set(holder.token, holder)
        read = leaseNumber(name)
      } catch (error) {
        // One that is gone was old, and another run has tidied up.
        if (!(error instanceof NexusError) || (error.kind !== 'damage' && error.kind !== 'not-found')) throw error
        if (error.kind === 'damage') this.#passedOver.add(this.#bucket.displayed(path))
      }
    }
    return [...held.values()]
  }

  /**
   * Whether the server still writes only once; else why not. One that ignores the condition would let everybody in, and might
   * begin to at any time: so it shows that for each lock that is taken.
   */
  async #isConditional(path: string, bytes: Uint8Array, purpose: LeaseChange): Promise<unknown> {
    if (purpose !== 'take' || this.#bucket.locking === 'single-writer') return true
    try {
      await assertConditional(this.#bucket, path, bytes)
      return true
    } catch (error) {
      return error
    }
  }
}

function spent(name: string): NexusError {
  return new NexusError('failed', 'lease_numbers_spent', `no lease can follow ${name}`, {
    hint: 'nexus-backup has not written it; when no nexus-backup runs on this repository, remove it',
  })
}

function highestOf(files: readonly Listed[]): number {
  return files.reduce((highest, { name }) => Math.max(highest, leaseNumber(name) ?? 0), 0)
}

/** The states of one number: one, or, for a moment on a store without conditional writes, more. */
function statesOf(files: readonly Listed[], number: number): string[] {
  return files.flatMap(({ name }) => (number > 0 && leaseNumber(name) === number ? [name] : [])).sort()
}

function oldOf(files: readonly Listed[], newest: number, now: Date): Listed[] {
  return files.filter(({ name, modified }) => {
    const number = leaseNumber(name)
    return number !== undefined && number <= newest - KEPT_STATES && now.getTime() - modified.getTime() > KEPT_MS
  })
}
