import { float64Column, uint32Column } from '../../image/tree/columns.js'
import { TextStore } from '../../image/tree/text-store.js'
import type { Found } from './found.js'

/** What is the same for nearly all entries of a walk. */
type Profile = Pick<Found, 'type' | 'mode' | 'uid' | 'gid' | 'nlink' | 'sparse' | 'device' | 'leftOut'>

/**
 * What a walk found, in its order. As objects a million entries take more than half a gigabyte, here some 50 bytes each:
 * they are made anew whenever they are asked for.
 */
export class FoundStore implements Iterable<Found> {
  readonly #profiles: Profile[] = []
  readonly #profileNumbers = new Map<string, number>()
  readonly #profile = uint32Column()
  readonly #size = float64Column()
  readonly #text = float64Column()
  readonly #texts = new TextStore(7)
  /** Of all that was added. */
  bytes = 0

  get length(): number {
    return this.#profile.length
  }

  add(found: Found): void {
    const { path, location, link, inode, mtime, ctime, born } = found
    this.#text.push(this.#texts.add(path, location, link, inode, String(mtime), String(ctime), String(born)))
    this.#size.push(found.size)
    if (found.type === 'file') this.bytes += found.size
    this.#profile.push(this.#profileOf(found))
  }

  at(number: number): Found {
    const profile = this.#profiles[this.#profile.at(number)]
    if (profile === undefined || number >= this.length) throw new RangeError(`there is no entry ${number}`)
    const [path = '', location = '', link = '', inode = '', ...times] = this.#texts.at(this.#text.at(number))
    const [mtime = 0n, ctime = 0n, born = 0n] = times.map(BigInt)
    return { path, location, link, inode, mtime, ctime, born, size: this.#size.at(number), ...profile }
  }

  *[Symbol.iterator](): Generator<Found, void, void> {
    for (let number = 0; number < this.length; number += 1) yield this.at(number)
  }

  #profileOf({ type, mode, uid, gid, nlink, sparse, device, leftOut }: Found): number {
    const number = device === undefined ? '' : `${device.major}:${device.minor}`
    const key = `${type} ${number} ${mode} ${uid} ${gid} ${nlink} ${sparse} ${leftOut ?? ''}`
    const known = this.#profileNumbers.get(key)
    if (known !== undefined) return known
    this.#profileNumbers.set(key, this.#profiles.length)
    const special = { ...(device === undefined ? {} : { device }), ...(leftOut === undefined ? {} : { leftOut }) }
    return this.#profiles.push({ type, mode, uid, gid, nlink, sparse, ...special }) - 1
  }
}
