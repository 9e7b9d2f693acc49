import { createHash } from 'node:crypto'
import * as v from 'valibot'
import binding from 'zstd-napi/binding.js'
import { messageOf, NexusError } from '../errors.js'
import { parseOutsideJson } from './json.js'
import { FORMAT } from './manifest.js'

/** Directory of a source's summaries: `SOURCE/index/SEQUENCE.json.zst` (design section 5). */
export const summaryDirectory = 'index'

/** Bytes that a stored summary, and what is in it, may have. */
export const summaryLimit = 128 * 1024 * 1024
const plainLimit = 1024 * 1024 * 1024
/** Small files only: the rest is read by itself. */
export const summarizedLimit = 256 * 1024

const schema = v.looseObject({
  format: v.literal(FORMAT),
  /** Of the canonical text of `files`: its JSON as it stands in the summary. */
  sha256: v.string(),
  files: v.record(v.string(), v.string()),
})

/** The texts of a source's small write-once files, by their names below the source. */
export type Texts = ReadonlyMap<string, string>

/** The bytes of a summary. */
export function formatSummary(texts: Texts): Buffer {
  const files = JSON.stringify(Object.fromEntries(texts))
  const plain = Buffer.from(`{"format":${FORMAT},"sha256":"${sha256Of(files)}","files":${files}}\n`)
  const room = Buffer.allocUnsafeSlow(binding.compressBound(plain.byteLength))
  const length = new binding.CCtx().compress(room, plain, 3)
  return room.subarray(0, length)
}

/** What a summary says. @throws NexusError damage: it is a cache, and whoever reads it does without */
export function parseSummary(bytes: Uint8Array, where: string): Texts {
  try {
    const { sha256, files } = v.parse(schema, parseOutsideJson(unpacked(bytes)))
    if (sha256Of(JSON.stringify(files)) !== sha256) throw new Error('its SHA-256 differs')
    return new Map(Object.entries(files))
  } catch (cause) {
    throw new NexusError('damage', 'summary_damaged', `${where} is damaged: ${messageOf(cause)}`, { cause })
  }
}

/** The number of a summary's file name; undefined for anything else. */
export function summaryNumber(name: string): number | undefined {
  const [, digits] = /^([1-9]\d{0,14})\.json\.zst$/.exec(name) ?? []
  return digits === undefined ? undefined : Number(digits)
}

function unpacked(bytes: Uint8Array): Buffer {
  const size = binding.getFrameContentSize(bytes)
  if (size === null || size > plainLimit) throw new Error('it does not say how large it is, or is too large')
  const plain = Buffer.allocUnsafeSlow(size)
  if (new binding.DCtx().decompress(plain, bytes) !== size) throw new Error('it was cut')
  return plain
}

function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
