import { randomBytes } from 'node:crypto'
import { messageOf, NexusError } from '../../../errors.js'
import { takeOrWait } from '../lock-wait.js'
import type { Lock, LockMode, LockName, LockOptions } from '../locks.js'
import type { Bucket } from './bucket.js'
import { type LeaseChange, LeaseRow } from './lease-row.js'
import { describeLeases, type Holder, isExpired, isInTheWay } from './lease-state.js'
import { isGone, machineId } from './machine.js'
import type { Guard } from './pending.js'

/** How long a lease lasts and how often it is renewed (ms). */
export interface LeaseTiming {
  lease: number
  renewal: number
}

/** Three renewals may fail before anybody else may take over. */
export const leaseTiming: LeaseTiming = { lease: 300_000, renewal: 60_000 }

const pauses = { grace: [], first: 500, longest: 5000 }

/** This process's leases of one source: taken, renewed while it works, and given back. */
export class Leases implements Guard {
  readonly #bucket: Bucket
  readonly #source: string
  readonly #row: LeaseRow
  readonly #timing: LeaseTiming
  readonly #machine = machineId()
  readonly #tokens = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  /** When our last renewal was asked for, by the clock that also runs while a machine sleeps. */
  #renewedAt = 0
  #lost: NexusError | undefined
  #stillWrites: (() => Promise<void>) | undefined
  /** Those that are being given back. */
  readonly #leaving = new Set<string>()
  #givingBack: Promise<unknown> | undefined
  /** One change at a time. */
  #tail: Promise<unknown> = Promise.resolve()

  constructor(bucket: Bucket, source: string, timing: LeaseTiming) {
    this.#bucket = bucket
    this.#source = source
    this.#row = new LeaseRow(bucket, source, timing.lease / 10)
    this.#timing = timing
  }

  /** Takes a lock, or waits for it. @throws NexusError locked, interrupted */
  async take(lock: LockName, mode: LockMode, options: LockOptions): Promise<Lock> {
    const token = randomBytes(16).toString('hex')
    let inTheWay: Holder[] = []
    const tryTake = async () => {
      inTheWay = await this.#tryTake({ lock, mode, token, options })
      return inTheWay.length === 0 || undefined
    }
    await takeOrWait(this.#source, options, pauses, { tryTake, holders: async () => this.#describe(inTheWay) })
    for (const name of this.#row.passedOver) {
      options.onWait(`${name} is not a lease of nexus-backup and is passed over; when no nexus-backup runs, remove it`)
    }
    return { unlocked: false, release: () => this.#release(token, options) }
  }

  /** Whether this process holds any lock of the source. */
  get isHeld(): boolean {
    return this.#tokens.size > 0
  }

  assertHeld = async (): Promise<void> => {
    if (this.#lost !== undefined) throw this.#lost
    if (!this.isFresh()) await this.renew()
  }

  isFresh(): boolean {
    return this.#tokens.size === 0 || Date.now() - this.#renewedAt < this.#timing.lease / 2
  }

  /** Renews every lease that is held here; nothing when none is. */
  async renew(): Promise<void> {
    if (this.#lost !== undefined) throw this.#lost
    if (this.#tokens.size === 0) return
    const asked = Date.now()
    await this.#advance('renew', holders => {
      this.#assertAllIn(holders)
      const renewed = this.#bucket.serverNow().toISOString()
      return this.#present(holders).map(holder => (this.#tokens.has(holder.token) ? { ...holder, renewed } : holder))
    })
    await this.#stillWrites?.()
    this.#renewedAt = asked
  }

  /**
   * Has every renewal ask whether this host still is the one that writes here, until all leases are given back.
   * @param ask throws refused `writer_elsewhere` when it is not
   */
  askAtRenewal(ask: () => Promise<void>): void {
    this.#stillWrites = ask
  }

  /** Who holds something, in words. */
  async holders(): Promise<string> {
    return this.#describe(this.#present(await this.#row.read()))
  }

  async #tryTake(wanted: { lock: LockName; mode: LockMode; token: string; options: LockOptions }): Promise<Holder[]> {
    const { lock, mode, token, options } = wanted
    const asked = Date.now()
    let inTheWay: Holder[] = []
    const take = (holders: readonly Holder[]) => {
      const present = this.#present(holders).filter(holder => holder.token !== token)
      inTheWay = present.filter(holder => isInTheWay(holder, wanted))
      // What we withdrew may have been taken over by another: then we are in somebody's way ourselves.
      if (inTheWay.length > 0) return holders.some(holder => holder.token === token) ? present : undefined
      const now = this.#bucket.serverNow().toISOString()
      const { host, user, purpose } = options
      const self = { host, user, pid: process.pid, purpose, machine: this.#machine, since: now, renewed: now }
      return [...present, { lock, mode, token, ...self }]
    }
    await this.#advance('take', take, token)
    if (inTheWay.length === 0) this.#keep(token, asked)
    return inTheWay
  }

  #keep(token: string, asked: number): void {
    // Only the first one's age counts: a later one does not renew it.
    if (this.#tokens.size === 0) this.#renewedAt = asked
    this.#tokens.add(token)
    this.#timer ??= setInterval(() => void this.#renewInPassing(), this.#timing.renewal).unref()
  }

  async #renewInPassing(): Promise<void> {
    try {
      await this.renew()
    } catch (error) {
      // Trouble on the way is told to whoever writes next, once the lease is no longer fresh.
      const isLost = error instanceof NexusError && ['lease_lost', 'writer_elsewhere'].includes(error.code)
      if (isLost) this.#lost = error
    }
  }

  async #release(token: string, { onWait }: LockOptions): Promise<void> {
    if (!this.#tokens.has(token)) return
    this.#leaving.add(token)
    try {
      await this.#giveBack()
    } catch (error) {
      // The work is done or has failed for a reason of its own; a lease that is not given back ends by itself.
      onWait(
        `${this.#source}: its lease could not be given back and ends by itself within five minutes: ${messageOf(error)}`,
      )
    } finally {
      this.#leaving.delete(token)
      this.#tokens.delete(token)
      if (this.#tokens.size === 0) {
        clearInterval(this.#timer)
        this.#timer = undefined
        this.#row.forget()
        this.#lost = undefined
        this.#stillWrites = undefined
      }
    }
  }

  /** Gives back at once what is given back at the same time. */
  #giveBack(): Promise<unknown> {
    this.#givingBack ??= Promise.resolve().then(() => {
      this.#givingBack = undefined
      const leaving = new Set(this.#leaving)
      return this.#advance('give back', holders => {
        if (!holders.some(holder => leaving.has(holder.token))) return undefined
        return this.#present(holders).filter(holder => !leaving.has(holder.token))
      })
    })
    return this.#givingBack
  }

  /** Those who hold something: neither expired by the server's clock nor surely dead, and ourselves. */
  #present(holders: readonly Holder[]): Holder[] {
    const now = this.#bucket.serverNow()
    return holders.filter(
      holder =>
        this.#tokens.has(holder.token) ||
        (!isExpired(holder, now, this.#timing.lease) && !isGone(holder, this.#machine)),
    )
  }

  #describe(holders: readonly Holder[]): string {
    const { lease: leaseMs } = this.#timing
    return describeLeases(holders, { machine: this.#machine, serverNow: this.#bucket.serverNow(), leaseMs })
  }

  #assertAllIn(holders: readonly Holder[]): void {
    const tokens = new Set(holders.map(({ token }) => token))
    if ([...this.#tokens].every(token => tokens.has(token))) return
    throw lost(this.#source, `others took over: ${this.#describe(this.#present(holders))}`)
  }

  #advance(
    purpose: LeaseChange,
    change: (holders: readonly Holder[]) => Holder[] | undefined,
    token?: string,
  ): Promise<boolean> {
    const wanted = [...this.#tokens, ...(token === undefined ? [] : [token])]
    const mine = (holders: readonly Holder[]) => {
      const there = new Set(holders.map(holder => holder.token))
      return wanted.every(each => there.has(each))
    }
    const advancing = this.#tail.then(() => this.#row.advance(change, { mine, purpose }))
    this.#tail = advancing.catch(() => undefined)
    return advancing
  }
}

function lost(source: string, why: string): NexusError {
  return new NexusError('locked', 'lease_lost', `${source}: this run lost its lease: ${why}`, {
    hint: 'nothing was committed or removed since; this machine may have slept, or was cut off from the server: run the command again',
  })
}
