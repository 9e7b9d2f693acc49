import { nameOf } from '../../system/file-names.js'
import { readPaxRecords, withPax } from './pax.js'
import { tarEntry } from './tar-entry.js'
import { badArchive } from './tar-error.js'
import { readTarHeader, TAR_BLOCK, type TarHeader } from './tar-header.js'
import type { TreeEntry } from './types.js'

/** A long name, or the records of an extended header, are shorter. */
const MAX_EXTENSION_BYTES = 1024 * 1024

/** What a piece of an archive is. All `raw` and `content` bytes in order are the archive. */
export type TarPiece =
  | { kind: 'raw'; bytes: Uint8Array }
  /** A header is complete; its content follows, if it has any. */
  | { kind: 'entry'; entry: TreeEntry }
  | { kind: 'content'; bytes: Uint8Array }

type State = 'header' | 'extension' | 'content' | 'end'

/**
 * Reads a tar archive as it streams by: ustar, pax (`x`, `g`), GNU (`L`, `K`, base 256). Its bytes are handed on as
 * they come, without a copy, since a full stores them all.
 */
export class TarReader {
  #state: State = 'header'
  /** Bytes still to come of the header, the extension or the content. */
  #rest = TAR_BLOCK
  /** Bytes of padding that come before the next header. */
  #due = 0
  #padding = 0
  /** A header or extension that is not complete yet. */
  #held: Uint8Array[] = []
  #extension = ''
  /** A block of zeros was the last: a second one ends the archive. */
  #zeroBlock = false
  #records = new Map<string, string>()
  readonly #global = new Map<string, string>()

  /** To be called after the last byte. @throws NexusError `failed` when the archive has no end */
  finish(): void {
    if (this.#state !== 'end') throw badArchive('is cut off: it has no end')
  }

  /** @throws NexusError `failed` when the archive is garbled or holds what no tree image can */
  *push(chunk: Uint8Array): Generator<TarPiece, void, void> {
    for (let at = 0; at < chunk.length; ) {
      const wanted = this.#due > 0 ? this.#due : this.#state === 'end' ? chunk.length : this.#rest
      const bytes = chunk.subarray(at, at + wanted)
      at += bytes.length
      if (this.#due > 0) {
        this.#due -= bytes.length
        yield { kind: 'raw', bytes }
        continue
      }
      yield { kind: this.#state === 'content' ? 'content' : 'raw', bytes }
      const entry = this.#take(bytes)
      if (entry !== null) yield { kind: 'entry', entry }
    }
  }

  #take(bytes: Uint8Array): TreeEntry | null {
    if (this.#state === 'end') {
      if (!isZero(bytes)) throw badArchive('is garbled: something follows its end')
      return null
    }
    this.#rest -= bytes.length
    if (this.#state === 'content') {
      if (this.#rest === 0) this.#expectHeader()
      return null
    }
    this.#held.push(bytes)
    if (this.#rest > 0) {
      // What is held must outlive the chunk it came in.
      this.#held[this.#held.length - 1] = Uint8Array.from(bytes)
      return null
    }
    const [only] = this.#held
    const whole = this.#held.length === 1 && only !== undefined ? asBuffer(only) : Buffer.concat(this.#held)
    this.#held = []
    if (this.#state === 'header') return this.#header(whole)
    this.#extend(whole)
    return null
  }

  #header(block: Buffer): TreeEntry | null {
    if (isZero(block)) {
      if (this.#records.size > 0) throw badArchive('is cut off: an extended header has nothing to extend')
      if (this.#zeroBlock) this.#state = 'end'
      this.#zeroBlock = true
      this.#rest = TAR_BLOCK
      return null
    }
    if (this.#zeroBlock) throw badArchive('is garbled: a single block of zeros stands in it')
    const header = readTarHeader(block)
    if ('xgLK'.includes(header.type)) {
      this.#extension = header.type
      this.#expect('extension', header.size, MAX_EXTENSION_BYTES)
      return null
    }
    const full = this.#complete(header)
    this.#records = new Map()
    const entry = tarEntry(full)
    this.#expect('content', full.size, Number.MAX_SAFE_INTEGER - TAR_BLOCK)
    return entry
  }

  #complete(header: TarHeader): TarHeader {
    if (this.#records.size === 0 && this.#global.size === 0) return header
    return withPax(header, new Map([...this.#global, ...this.#records]))
  }

  #extend(bytes: Buffer): void {
    const end = bytes.indexOf(0)
    const name = () => nameOf(end < 0 ? bytes : bytes.subarray(0, end))
    if (this.#extension === 'L') this.#records.set('path', name())
    else if (this.#extension === 'K') this.#records.set('linkpath', name())
    else {
      const records = this.#extension === 'g' ? this.#global : this.#records
      for (const [key, value] of readPaxRecords(bytes)) records.set(key, value)
    }
    this.#expectHeader()
  }

  #expect(state: State, length: number, most: number): void {
    if (!Number.isSafeInteger(length) || length < 0 || length > most) {
      throw badArchive('is garbled: a header claims an impossible length')
    }
    this.#state = state
    this.#rest = length
    this.#padding = (TAR_BLOCK - (length % TAR_BLOCK)) % TAR_BLOCK
    if (length === 0) this.#expectHeader()
  }

  #expectHeader(): void {
    this.#due = this.#padding
    this.#padding = 0
    this.#state = 'header'
    this.#rest = TAR_BLOCK
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every(byte => byte === 0)
}
