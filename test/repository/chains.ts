import { randomBytes } from 'node:crypto'
import { basename } from 'node:path'
import { compress } from 'zstd-napi'
import { makeBackupId } from '../../src/repository/layout.js'
import type { BackupType, Manifest } from '../../src/repository/manifest.js'
import type { SourceRoom } from '../../src/repository/types.js'
import { exampleManifest, sha256 } from './manifests.js'

/** A repository's chain made by hand, after the format's description and not with our own engine. */
export interface Image {
  path: string
  bytes: Buffer
  blockSize: number
}

interface Run {
  file: number
  first: number
  blocks: Buffer[]
  offset: number
}

interface Frame {
  plain: Buffer
  runs: Run[]
}

export interface MadeBackup {
  manifest: Manifest
  images: Image[]
}

const digestOf = (block: Buffer): Buffer => Buffer.from(sha256(block), 'hex').subarray(0, 16)

function blocksOf({ bytes, blockSize }: Image): Buffer[] {
  const blocks: Buffer[] = []
  for (let at = 0; at < bytes.length; at += blockSize) blocks.push(bytes.subarray(at, at + blockSize))
  return blocks
}

/** Blocks that a parent's images do not have at the same place. */
function changed(images: Image[], parent: Image[]): Run[] {
  const runs: Run[] = []
  for (const [file, image] of images.entries()) {
    const old = parent.find(({ path }) => path === image.path)
    const before = old ? blocksOf(old) : []
    for (const [number, block] of blocksOf(image).entries()) {
      if (before[number]?.equals(block)) continue
      const last = runs.at(-1)
      if (last && last.file === file && last.first + last.blocks.length === number) last.blocks.push(block)
      else runs.push({ file, first: number, blocks: [block], offset: 0 })
    }
  }
  return runs
}

/** A few runs a frame, so that frames, runs and their offsets all differ. `gap` bytes before each belong to nothing. */
function framesOf(runs: Run[], runsPerFrame: number, gap: number): Frame[] {
  const frames: Frame[] = []
  for (let at = 0; at < runs.length; at += runsPerFrame) {
    const pieces: Buffer[] = []
    let length = 0
    const placed = runs.slice(at, at + runsPerFrame).map(run => {
      pieces.push(Buffer.alloc(gap, 0x20))
      length += gap
      const offset = length
      for (const block of run.blocks) {
        pieces.push(block)
        length += block.length
      }
      return { ...run, offset }
    })
    frames.push({ plain: Buffer.concat(pieces), runs: placed })
  }
  return frames
}

function u32(...numbers: number[]): Buffer {
  const buffer = Buffer.alloc(numbers.length * 4)
  for (const [index, number] of numbers.entries()) buffer.writeUInt32LE(number, index * 4)
  return buffer
}

function u64(number: number): Buffer {
  const buffer = Buffer.alloc(8)
  buffer.writeBigUInt64LE(BigInt(number))
  return buffer
}

function encode(frames: Frame[]): { data: Buffer; index: Buffer } {
  const stored = frames.map(frame => compress(frame.plain))
  const index: Buffer[] = [Buffer.from('NXBKIDX1'), u32(16, 0)]
  let blocks = 0
  for (const [number, { plain, runs }] of frames.entries()) {
    index.push(u32(stored[number]?.length ?? 0, plain.length, runs.length))
    for (const run of runs) index.push(u32(run.file, run.blocks.length), u64(run.first), u32(run.offset, 0))
    for (const run of runs) index.push(...run.blocks.map(digestOf))
    blocks += runs.reduce((sum, run) => sum + run.blocks.length, 0)
  }
  index.push(u32(0, 0, 0), u64(frames.length), u64(blocks), Buffer.from('NXBKEND1'))
  return { data: Buffer.concat(stored), index: Buffer.concat(index) }
}

/** Writes one backup of some files. A full of one file has no gaps, so that `zstd -d` gives the file. */
export async function makeBackup(
  room: SourceRoom,
  images: Image[],
  options: {
    type?: BackupType
    parent?: MadeBackup
    sequence?: number
    runsPerFrame?: number
    change?: (m: Manifest) => void
  } = {},
): Promise<MadeBackup> {
  const type = options.type ?? 'full'
  const runs = changed(images, options.parent?.images ?? [])
  const gap = type === 'full' && images.length > 1 ? 512 : 0
  const { data, index } = encode(framesOf(runs, options.runsPerFrame ?? 2, gap))
  const sequence = options.sequence ?? (options.parent?.manifest.sequence ?? 0) + 1
  const at = new Date(Date.UTC(2025, 10, 3, 3, 0, sequence))
  const id = makeBackupId(at, type, randomBytes(2).toString('hex'))
  const writer = await room.begin(id)
  const name = type === 'full' ? `${basename(images[0]?.path ?? 'empty')}.zst` : 'blocks.zst'
  const parts = []
  for (const [part, bytes] of [
    [name, data],
    ['blocks.idx', index],
  ] as const) {
    const out = await writer.create(part)
    await out.write(bytes)
    parts.push(await out.close())
  }
  const roles = [type === 'full' ? 'image' : 'blocks', 'index'] as const
  const manifest: Manifest = {
    ...exampleManifest({
      id,
      type,
      sequence,
      at,
      source: room.name,
      parent: options.parent?.manifest.id ?? null,
      files: images.map(({ path, bytes, blockSize }) => ({ path, size: bytes.length, block_size: blockSize })),
      parts: parts.map((part, number) => ({ ...part, role: roles[number] ?? 'index' })),
    }),
    digest_algorithm: 'sha256-128',
    image_digest: sha256(Buffer.concat(images.flatMap(blocksOf).map(digestOf))),
  }
  options.change?.(manifest)
  await writer.commit(manifest, parts)
  return { manifest, images }
}
