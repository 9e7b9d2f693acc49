import { float64Column, int32Column, uint32Column } from './columns.js'
import { TextStore } from './text-store.js'
import type { TreeEntry } from './types.js'

/** What is the same for nearly all entries of a tree. */
type Profile = Pick<TreeEntry, 'type' | 'mode' | 'uid' | 'gid' | 'owner' | 'group' | 'sparse' | 'device'>

/**
 * Keeps entries in columns, their texts compressed: as objects a million of them would take half a gigabyte. Size and base of files are not
 * kept here, the layout has them.
 */
export class EntryStore {
  readonly #profiles: Profile[] = []
  readonly #profileNumbers = new Map<string, number>()
  readonly #profile = uint32Column()
  readonly #mtime = float64Column()
  /** Where an entry's path, link, facts and attributes are. */
  readonly #text = float64Column()
  readonly #texts = new TextStore(4)
  readonly #file = int32Column()
  readonly #entryOfFile = int32Column()

  get size(): number {
    return this.#profile.length
  }

  /** @param file its number, -1 for entries of other types */
  add(entry: TreeEntry, file: number): void {
    if (file >= 0) this.#entryOfFile.push(this.size)
    this.#file.push(file)
    this.#mtime.push(entry.mtime)
    const facts = JSON.stringify(entry.facts)
    const attributes = entry.attributes === undefined ? '' : JSON.stringify(entry.attributes)
    this.#text.push(this.#texts.add(entry.path, entry.link, facts === '{}' ? '' : facts, attributes))
    this.#profile.push(this.#profileOf(entry))
  }

  /** The number of a file among all entries. */
  numberOfFile(file: number): number {
    return this.#entryOfFile.at(file)
  }

  /** An entry by number; `size` and `base` of a file are to be filled in. */
  entry(number: number): { entry: TreeEntry; file: number } {
    const [path = '', link = '', facts = '', attributes = ''] = this.#texts.at(this.#text.at(number))
    const profile = this.#profiles[this.#profile.at(number)]
    if (profile === undefined) throw new RangeError(`there is no entry ${number}`)
    const mtime = this.#mtime.at(number)
    const known = facts === '' ? {} : JSON.parse(facts)
    const entry = { path, ...profile, mtime, size: 0, link, base: null, facts: known }
    const extended = attributes === '' ? {} : { attributes: JSON.parse(attributes) }
    return { entry: { ...entry, ...extended }, file: this.#file.at(number) }
  }

  #profileOf({ type, mode, uid, gid, owner, group, sparse, device }: TreeEntry): number {
    const number = device === undefined ? '' : `${device.major}:${device.minor}`
    const key = `${type} ${number} ${mode} ${uid} ${gid} ${sparse} ${owner}\0${group}`
    const known = this.#profileNumbers.get(key)
    if (known !== undefined) return known
    this.#profileNumbers.set(key, this.#profiles.length)
    const special = device === undefined ? {} : { device }
    return this.#profiles.push({ type, mode, uid, gid, owner, group, sparse, ...special }) - 1
  }
}
