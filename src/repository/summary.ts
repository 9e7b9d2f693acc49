import { createHash } from 'node:crypto'
import * as v from 'valibot'
import binding from 'zstd-napi/binding.js'
import { messageOf, NexusError } from '../errors.js'
import { parseOutsideJson } from './json.js'
import { FORMAT } from './manifest.js'

/** Directory of a source's summaries: `SOURCE/index/SEQUENCE.json.zst` (design section 5). */
export const summaryDirectory = 'index'

/** Bytes that a stored summary, and what is in it, may have: the small files of some thousand backups. */
export const summaryLimit = 32 * 1024 * 1024
/** Files in it: three for a backup. */
const fileLimit = 50_000
/** Small files only: the rest is read by itself. */
export const summarizedLimit = 256 * 1024

/** The texts of a source's small write-once files, by their names below the source. */
export type Texts = ReadonlyMap<string, string>

/** The bytes of a summary of texts that `fitting` has chosen. */
export function formatSummary(texts: Texts): Buffer {
  const files = JSON.stringify(Object.fromEntries(texts))
  const plain = Buffer.from(`{"format":${FORMAT},"sha256":"${sha256Of(files)}","files":${files}}\n`)
  const room = Buffer.allocUnsafeSlow(binding.compressBound(plain.byteLength))
  const length = new binding.CCtx().compress(room, plain, 3)
  return room.subarray(0, length)
}

/** The texts that a summary has room for: those of the newest backups. */
export function fitting(texts: Texts): Map<string, string> {
  // Names begin with the id of a backup, or with `proofs/` and that id; ids sort by age.
  const idIn = (name: string) => name.slice(name.startsWith('proofs/') ? 'proofs/'.length : 0)
  const newestFirst = [...texts].sort(([a], [b]) => (idIn(a) < idIn(b) ? 1 : -1))
  let bytes = 1024
  const kept = newestFirst.slice(0, fileLimit - 1).filter(([name, text]) => {
    bytes += Buffer.byteLength(JSON.stringify(name)) + Buffer.byteLength(JSON.stringify(text)) + 2
    return bytes <= summaryLimit
  })
  return new Map(kept.reverse())
}

/** What a summary says. @throws NexusError damage: it is a cache, and whoever reads it does without */
export function parseSummary(bytes: Uint8Array, where: string): Texts {
  try {
    const { files, sha256 } = partsOf(unpacked(bytes))
    if (sha256Of(files) !== sha256) throw new Error('its SHA-256 differs')
    return new Map(Object.entries(v.parse(filesSchema, parseOutsideJson(files, fileLimit))))
  } catch (cause) {
    throw new NexusError('damage', 'summary_damaged', `${where} is damaged: ${messageOf(cause)}`, { cause })
  }
}

/** The number of a summary's file name; undefined for anything else. */
export function summaryNumber(name: string): number | undefined {
  const [, digits] = /^([1-9]\d{0,14})\.json\.zst$/.exec(name) ?? []
  return digits === undefined ? undefined : Number(digits)
}

const filesSchema = v.record(v.string(), v.string())

/** What stands before the files; it is ASCII. */
const headPattern = /^\{"format":(\d{1,9}),"sha256":"([0-9a-f]{64})","files":/

/** The files as they stand in the text, which has one form, and the SHA-256 that must be theirs. */
function partsOf(plain: Buffer): { files: Buffer; sha256: string } {
  const [head, format, sha256 = ''] = headPattern.exec(plain.subarray(0, 256).toString('latin1')) ?? []
  if (head === undefined || !plain.subarray(-2).equals(Buffer.from('}\n'))) throw new Error('it is not a summary')
  if (Number(format) !== FORMAT) throw new Error(`it has format ${format}`)
  return { files: plain.subarray(head.length, -2), sha256 }
}

function unpacked(bytes: Uint8Array): Buffer {
  const size = binding.getFrameContentSize(bytes)
  if (size === null || size > summaryLimit) throw new Error('it does not say how large it is, or is too large')
  const plain = Buffer.allocUnsafeSlow(size)
  if (new binding.DCtx().decompress(plain, bytes) !== size) throw new Error('it was cut')
  return plain
}

function sha256Of(text: string | Uint8Array): string {
  return createHash('sha256').update(text).digest('hex')
}
