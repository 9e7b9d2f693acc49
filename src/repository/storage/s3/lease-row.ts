import { NexusError } from '../../../errors.js'
import type { Bucket } from './bucket.js'
import { formatLease, type Holder, leaseLimit, leaseName, leaseNumber, parseLease } from './lease-state.js'
import { type Listed, listLevel } from './listing.js'
import { assertConditional, getSmall, putOnce, removeIfAllowed } from './objects.js'

/** States that old are removed: nobody can be about to write one of their neighbours, however slow it is. */
const KEPT_MS = 3_600_000
/** The newest states stay whatever their age, so that numbers never begin anew. */
const KEPT_STATES = 5
/** Others who write at the same moment: each time one of us wins. */
const ATTEMPTS = 50

/**
 * A source's row of states `locks/SOURCE/N`, each written once (If-None-Match: *): who writes N+1 knew N. The newest one
 * tells who holds what.
 */
export class LeaseRow {
  readonly #bucket: Bucket
  readonly #directory: string
  #known: { number: number; holders: Holder[] } | undefined

  constructor(bucket: Bucket, source: string) {
    this.#bucket = bucket
    this.#directory = `locks/${source}`
  }

  /** The present holders, the expired ones too. */
  async read(): Promise<Holder[]> {
    return (await this.#newest()).holders
  }

  /**
   * Writes the state that follows the newest one.
   * @param change makes it of the holders by the newest; undefined: nothing is to be written
   * @param mine whose tokens tell that it was ours in case somebody else wrote a later one meanwhile
   * @returns whether a state was written
   */
  async advance(
    change: (holders: readonly Holder[]) => Holder[] | undefined,
    mine: (holders: readonly Holder[]) => boolean,
  ): Promise<boolean> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const { number, holders, old } = await this.#newest()
      const next = change(holders)
      if (next === undefined) return false
      const bytes = formatLease(next)
      const name = `${this.#directory}/${leaseName(number + 1)}`
      if (!(await putOnce(this.#bucket, name, bytes))) continue
      // A server that ignores the condition would let everybody in.
      if (number === 0) await assertConditional(this.#bucket, name, bytes)
      // Whoever slept between reading and writing may have written a number that was used and removed long ago.
      const { files } = await listLevel(this.#bucket, this.#directory, leaseName(number))
      const newest = highestOf(files)
      if (newest > number + 1) {
        this.#known = undefined
        if (!mine((await this.#newest()).holders)) continue
      } else this.#known = { number: number + 1, holders: next }
      await removeIfAllowed(this.#bucket, old)
      return true
    }
    throw new NexusError('failed', 'lease_contended', `the leases of ${this.#directory} change too fast for us`, {
      hint: 'run it again',
    })
  }

  /** The newest state; and those that are so old that they can go. */
  async #newest(): Promise<{ number: number; holders: Holder[]; old: string[] }> {
    const { files } = await listLevel(this.#bucket, this.#directory)
    const number = highestOf(files)
    const old = oldOf(files, number, this.#bucket.serverNow()).map(({ name }) => `${this.#directory}/${name}`)
    if (number === 0) return { number, holders: [], old }
    if (this.#known?.number === number) return { ...this.#known, old }
    const name = `${this.#directory}/${leaseName(number)}`
    const holders = parseLease(await getSmall(this.#bucket, name, leaseLimit), this.#bucket.displayed(name))
    this.#known = { number, holders }
    return { number, holders, old }
  }
}

function highestOf(files: readonly Listed[]): number {
  return files.reduce((highest, { name }) => Math.max(highest, leaseNumber(name) ?? 0), 0)
}

function oldOf(files: readonly Listed[], newest: number, now: Date): Listed[] {
  return files.filter(({ name, modified }) => {
    const number = leaseNumber(name)
    return number !== undefined && number <= newest - KEPT_STATES && now.getTime() - modified.getTime() > KEPT_MS
  })
}
