import { readSync } from 'node:fs'
import binding from 'zstd-napi/binding.js'
import { type BlockDigester, createBlockDigester } from '../digest.js'
import { DIGEST_BYTES, type DigestKind, type Extent, ZEROS } from '../types.js'
import { createFiles, settle } from './files.js'
import { placePieces } from './place.js'
import type {
  Done,
  FrameToOpen,
  Opened,
  OpenTask,
  Packed,
  PackTask,
  PlacedPiece,
  Scanned,
  ScanTask,
  Stored,
  StoreTask,
  Task,
  TaskBytes,
  TaskRun,
} from './tasks.js'

/**
 * Does the tasks of one worker, with buffers that are kept between them. All waiting comes before the first use of a
 * buffer: the next task may begin while this one waits, and would overwrite it.
 */
export class TaskExecutor {
  readonly #compressor = new binding.CCtx()
  readonly #decompressor = new binding.DCtx()
  readonly #digesters = new Map<string, Promise<BlockDigester>>()
  #plain = new Uint8Array(0)
  #packed = new Uint8Array(0)
  #level = Number.NaN

  async execute(task: Task): Promise<Stored | Scanned | Packed | Opened | Done> {
    switch (task.kind) {
      case 'store':
        return this.#store(task, await this.#digester(task.digest))
      case 'scan':
        return this.#scan(task, await this.#digester(task.digest))
      case 'pack':
        return this.#pack(task)
      case 'open':
        return this.#open(task, await this.#digester(task.digest))
      case 'create':
        return createFiles(task)
      case 'settle':
        return settle(task)
    }
  }

  #store(task: StoreTask, digester: BlockDigester): Stored {
    const digests: Uint8Array[] = []
    const lengths = new Uint32Array(task.frames.length)
    let at = 0
    for (const [number, frame] of task.frames.entries()) {
      const plain = this.#gather(frame.bytes, frame.length)
      digests.push(digestRuns(plain, frame.runs, digester))
      const length = this.#compress(plain, task.level, at)
      lengths[number] = length
      at += length
    }
    return { stored: this.#packed.slice(0, at), lengths, digests: concatenated(digests) }
  }

  #pack(task: PackTask): Packed {
    // Not in one expression: compressing may put a larger buffer in the place of the one it began with.
    const length = this.#compress(task.bytes, task.level, 0)
    return { stored: this.#packed.slice(0, length) }
  }

  #scan(task: ScanTask, digester: BlockDigester): Scanned {
    const plain = this.#gather(task.bytes, task.length)
    const digests = digestRuns(plain, task.runs, digester)
    const changed = changedBlocks(task, digests)
    const bytes = new Uint8Array(changed.reduce((sum, block) => sum + block.length, 0))
    let at = 0
    for (const block of changed) {
      bytes.set(plain.subarray(block.offset, block.offset + block.length), at)
      at += block.length
    }
    return { digests, changed: Uint32Array.from(changed, block => block.index), bytes }
  }

  #open(task: OpenTask, digester: BlockDigester): Opened {
    let at = 0
    const problems = task.frames.map(frame => {
      const stored = task.stored.subarray(at, at + frame.storedLength)
      at += frame.storedLength
      if (stored.length < frame.storedLength) return 'is cut off'
      return frame.pieces === null ? null : this.#openFrame(stored, frame, frame.pieces, digester)
    })
    return { problems }
  }

  #openFrame(stored: Uint8Array, frame: FrameToOpen, pieces: PlacedPiece[], digester: BlockDigester): string | null {
    const plain = this.#scratch(frame.plainLength)
    try {
      const length = this.#decompressor.decompress(plain, stored)
      if (length !== frame.plainLength) return `decompresses to ${length} bytes, not ${frame.plainLength}`
    } catch (error) {
      return `cannot be decompressed (${error instanceof Error ? error.message : String(error)})`
    }
    const digests = digestRuns(plain, frame.runs, digester)
    if (Buffer.compare(digests, frame.digests) !== 0) return 'holds blocks that differ from their digests'
    placePieces(plain, pieces)
    return null
  }

  #gather(parts: TaskBytes[], length: number): Uint8Array {
    const [only] = parts
    if (parts.length === 1 && only instanceof Uint8Array) return only
    const plain = this.#scratch(length)
    let at = 0
    for (const part of parts) {
      if (part instanceof Uint8Array) {
        plain.set(part, at)
        at += part.length
      } else {
        for (const extent of part) {
          readExtent(extent, plain, at)
          at += extent.length
        }
      }
    }
    return plain
  }

  #digester(kind: DigestKind): Promise<BlockDigester> {
    const key = `${kind.algorithm} ${kind.seed}`
    const known = this.#digesters.get(key) ?? createBlockDigester(kind)
    this.#digesters.set(key, known)
    return known
  }

  /** Compresses to the position `at` of the buffer for packed bytes and returns the length. */
  #compress(plain: Uint8Array, level: number, at: number): number {
    if (this.#level !== level) {
      this.#compressor.setParameter(binding.CParameter.compressionLevel, level)
      // The same 32-bit content checksum that the zstd program adds: `zstd -t` finds rot without us.
      this.#compressor.setParameter(binding.CParameter.checksumFlag, 1)
      this.#level = level
    }
    const room = at + binding.compressBound(plain.length)
    if (this.#packed.length < room) {
      const larger = new Uint8Array(2 * room)
      larger.set(this.#packed.subarray(0, at))
      this.#packed = larger
    }
    return this.#compressor.compress2(this.#packed.subarray(at), plain)
  }

  #scratch(length: number): Uint8Array {
    if (this.#plain.length < length) this.#plain = new Uint8Array(length)
    return this.#plain.subarray(0, length)
  }
}

function digestRuns(plain: Uint8Array, runs: TaskRun[], digester: BlockDigester): Uint8Array<ArrayBuffer> {
  const digests = new Uint8Array(runs.reduce((sum, run) => sum + run.count, 0) * DIGEST_BYTES)
  let row = 0
  for (const run of runs) {
    const rows = digests.subarray(row, row + run.count * DIGEST_BYTES)
    digester(plain.subarray(run.offset, run.offset + run.length), run.blockSize, rows)
    row += rows.length
  }
  return digests
}

function concatenated(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}

function changedBlocks(task: ScanTask, digests: Uint8Array): { index: number; offset: number; length: number }[] {
  const changed = []
  let index = 0
  let row = 0
  for (const [number, run] of task.runs.entries()) {
    const known = task.known[number] ?? 0
    for (let block = 0; block < run.count; block += 1) {
      if (block >= known || !sameDigest(digests, index * DIGEST_BYTES, task.before, (row + block) * DIGEST_BYTES)) {
        const start = block * run.blockSize
        changed.push({ index, offset: run.offset + start, length: Math.min(run.blockSize, run.length - start) })
      }
      index += 1
    }
    row += known
  }
  return changed
}

function sameDigest(left: Uint8Array, leftAt: number, right: Uint8Array, rightAt: number): boolean {
  for (let byte = 0; byte < DIGEST_BYTES; byte += 1) {
    if (left[leftAt + byte] !== right[rightAt + byte]) return false
  }
  return true
}

function readExtent(extent: Extent, into: Uint8Array, at: number): void {
  if (extent.fd === ZEROS) {
    into.fill(0, at, at + extent.length)
    return
  }
  let have = 0
  while (have < extent.length) {
    const got = readSync(extent.fd, into, at + have, extent.length - have, extent.position + have)
    if (got === 0)
      throw new Error(`the file ends at byte ${extent.position + have}: it became shorter while being read`)
    have += got
  }
}
