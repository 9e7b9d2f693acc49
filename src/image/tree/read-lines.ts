import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import binding from 'zstd-napi/binding.js'
import { errnoOf, messageOf, NexusError } from '../../errors.js'
import { DamagedPart, type StoredPart } from '../chain.js'
import type { ByteReader } from '../types.js'
import { MAX_LINE_BYTES } from './tree-entry.js'

const READ_BYTES = 256 * 1024
const PLAIN_BYTES = 256 * 1024
export const NEWLINE = 0x0a

/** The lines of a tree part as strings, without their ends. As `readTreeBytes`. */
export async function* readTreeLines(part: StoredPart): AsyncGenerator<string[], void, void> {
  for await (const bytes of readTreeBytes(part)) {
    const lines = bytes.toString().split('\n')
    lines.pop()
    yield lines
  }
}

/**
 * The lines of a tree part, some thousand at a time, with a bounded amount of it in memory whatever it decompresses
 * to. Its SHA-256 is known only after the last line: nothing may be done with them before the end.
 *
 * @returns whole lines of UTF-8 with their ends, for as long as the next are not asked for
 * @throws DamagedPart when it is missing, cut off or garbled, or not the bytes that were stored
 */
export async function* readTreeBytes(part: StoredPart): AsyncGenerator<Buffer, void, void> {
  const reader = await opened(part)
  try {
    if (reader.size !== part.bytes)
      throw new DamagedPart(part.name, `has ${reader.size} bytes instead of ${part.bytes}`)
    let rest: Buffer = Buffer.alloc(0)
    for await (const plain of decompressed(part, reader)) {
      const bytes = rest.length === 0 ? plain : Buffer.concat([rest, plain])
      const end = bytes.lastIndexOf(NEWLINE) + 1
      if (bytes.length - end > MAX_LINE_BYTES) throw new DamagedPart(part.name, 'has a line that is too long')
      rest = Buffer.from(bytes.subarray(end))
      if (end > 0) yield checkedUtf8(part, bytes.subarray(0, end))
    }
    if (rest.length > 0) throw new DamagedPart(part.name, 'ends within a line')
  } finally {
    await reader.close()
  }
}

function checkedUtf8(part: StoredPart, bytes: Buffer): Buffer {
  if (isUtf8(bytes)) return bytes
  throw new DamagedPart(part.name, 'is no UTF-8')
}

async function* decompressed(part: StoredPart, reader: ByteReader): AsyncGenerator<Buffer, void, void> {
  const context = new binding.DCtx()
  const hash = createHash('sha256')
  // Used again for each piece: nobody keeps one beyond the next.
  const plain = Buffer.allocUnsafeSlow(PLAIN_BYTES)
  let inFrame = false
  for (;;) {
    const stored = await readable(part, reader.read(READ_BYTES))
    if (stored.length === 0) break
    if (reader.storedSha256 === undefined) hash.update(stored)
    for (let at = 0, more = true; more; ) {
      const [hint, produced, consumed] = step(part, context, plain, stored.subarray(at))
      at += consumed
      inFrame = hint !== 0
      if (produced > 0) yield plain.subarray(0, produced)
      // A full buffer may hide more that the decompressor still holds.
      more = at < stored.length || (produced === plain.length && inFrame)
    }
  }
  const actual = await (reader.storedSha256?.() ?? hash.digest('hex'))
  if (actual !== part.sha256) throw new DamagedPart(part.name, 'SHA-256 differs from the one recorded')
  if (inFrame) throw new DamagedPart(part.name, 'is cut off')
}

function step(
  part: StoredPart,
  context: InstanceType<typeof binding.DCtx>,
  plain: Buffer,
  stored: Buffer,
): [number, number, number] {
  try {
    return context.decompressStream(plain, stored)
  } catch (error) {
    throw new DamagedPart(part.name, `cannot be decompressed (${messageOf(error)})`)
  }
}

/** A sealed part that does not open is damaged like any other. */
async function readable(part: StoredPart, reading: Promise<Buffer>): Promise<Buffer> {
  try {
    return await reading
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind !== 'damage') throw error
    throw new DamagedPart(part.name, error.message)
  }
}

async function opened(part: StoredPart): Promise<ByteReader> {
  try {
    return await part.open()
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'damage') throw new DamagedPart(part.name, error.message)
    if (errnoOf(error) !== 'ENOENT' && !(error instanceof NexusError && error.kind === 'not-found')) throw error
    throw new DamagedPart(part.name, 'is missing')
  }
}
