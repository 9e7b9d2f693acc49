import { randomBytes } from 'node:crypto'
import { basename, join } from 'node:path'
import { NexusError } from '../errors.js'
import { DigestTable } from '../image/digest-table.js'
import { allFrames, someFrames } from '../image/file-image.js'
import { chainTable } from '../image/restore-file.js'
import { type StoreSettings, storeAll, storeChanged } from '../image/store.js'
import type { Frame } from '../image/types.js'
import { makeBackupId, partNameFor } from '../repository/layout.js'
import type { Check, Manifest, ManifestPart } from '../repository/manifest.js'
import type { BackupWriter } from '../repository/types.js'
import type { SqliteCapture } from '../sources/sqlite/capture.js'
import type { BackUpTask } from './back-up.js'
import { chainOf, memberOf } from './chain-members.js'
import { DigestCache } from './digest-cache.js'
import { manifestOf } from './manifest-of.js'

/** Bytes a worker scans at a time when only changes are stored: fewer messages than frames of 1 MiB need. */
const SCAN_BYTES = 4 * 1024 * 1024

/** A consistent image, and where scratch files go. */
export interface CapturedSource {
  capture: SqliteCapture
  scratch: string
}

/** Writes a backup of a captured image and commits it. @throws NexusError `damage` when the source fails its checks */
export async function writeBackup(task: BackUpTask, captured: CapturedSource): Promise<Manifest> {
  const { context, room, plan, source, request } = task
  const { capture } = captured
  const id = makeBackupId(capture.capturedAt, plan.type)
  const level = request.check ?? (plan.type === 'full' ? 'integrity' : 'none')
  const writer = await room.begin(id)
  try {
    // The pinned connection checks while the workers read: they are different threads.
    const checking = capture.check(level, source.checks)
    checking.catch(() => {})
    const stored = await storeImage(task, captured, writer)
    await capture.confirm()
    const checks = await checking
    assertSound(task, checks)
    const manifest = manifestOf(task, captured, { id, checks, ...stored })
    context.signal.throwIfAborted()
    await writer.commit(manifest, manifest.parts)
    await cacheFor(task).store(id, stored.tablePath, keptInCache(task))
    return manifest
  } catch (error) {
    await writer.discard()
    throw error
  }
}

/** What storing an image yields for its manifest. */
export interface StoredImage {
  parts: ManifestPart[]
  fileName: string
  digestSeed: string
  imageDigest: string
  blocksStored: number
  tablePath: string
}

async function storeImage(task: BackUpTask, captured: CapturedSource, writer: BackupWriter): Promise<StoredImage> {
  const { context, plan, pool, source } = task
  const { image } = captured.capture
  const fileName = partNameFor(basename(source.path), '')
  const full = plan.parent === null
  const role = full ? ('image' as const) : ('blocks' as const)
  const digestSeed = plan.parent?.digest_seed ?? randomBytes(8).toString('hex')
  const before = plan.parent === null ? null : await tableOf(task, plan.parent, captured.scratch)
  const tablePath = join(captured.scratch, 'digests')
  const rows = Math.ceil(image.size / image.blockSize)
  const table = before === null ? DigestTable.create(tablePath, rows) : DigestTable.copyOf(before, tablePath, rows)
  try {
    const frames = await framesToRead(task, captured, before)
    const part = await writer.create(full ? partNameFor(fileName, '.zst') : 'blocks.zst')
    const index = await writer.create('blocks.idx')
    let done = 0
    const advance = (bytes: number) => {
      done += bytes
      context.progress({ phase: `${source.name}: ${plan.type} backup`, done, total: frames.bytes })
    }
    const digest = { algorithm: source.digestAlgorithm, seed: digestSeed }
    const settings: StoreSettings = { pool, digest, work: { signal: context.signal, advance } }
    const target = { part, index, table }
    const count = await (before === null
      ? storeAll(frames.list, target, settings)
      : storeChanged(frames.list, before, target, settings))
    const parts: ManifestPart[] = [
      { ...(await part.close()), role },
      { ...(await index.close()), role: 'index' },
    ]
    return { parts, fileName, digestSeed, imageDigest: table.imageDigest(), blocksStored: count.blocks, tablePath }
  } finally {
    before?.close()
    table.close()
  }
}

/** The blocks that must be looked at: all of them, or those that the write-ahead log names. */
async function framesToRead(
  task: BackUpTask,
  captured: CapturedSource,
  before: DigestTable | null,
): Promise<{ list: Iterable<Frame>; bytes: number }> {
  const { capture } = captured
  const { image } = capture
  if (before === null || task.plan.parent === null) return { list: allFrames(image), bytes: image.size }
  const blocks = await capture.changedSince({ facts: task.plan.parent.facts, blocks: before.rows })
  if (blocks === null) return { list: allFrames(image, SCAN_BYTES), bytes: image.size }
  return { list: someFrames(image, blocks), bytes: blocks.length * image.blockSize }
}

/** The digests of the backup to compare with: from the cache, else from the indexes of its chain. */
async function tableOf(task: BackUpTask, parent: Manifest, scratch: string): Promise<DigestTable> {
  const cached = cacheFor(task).load(parent)
  if (cached !== null) return cached
  const manifests = new Map(task.history.manifests.map(manifest => [manifest.id, manifest]))
  const chain = chainOf(parent, manifests).map(member => memberOf(task.room, member))
  const table = await chainTable(chain, join(scratch, 'parent-digests'))
  if (table.imageDigest() === parent.image_digest) return table
  table.close()
  throw new NexusError('damage', 'chain_damaged', `the block indexes of ${parent.id} do not lead to its image digest`, {
    hint: `find the damage with: nexus-backup verify ${task.source.name}; go on with: nexus-backup create ${task.source.name} --type full`,
  })
}

function cacheFor({ context, room, source }: BackUpTask): DigestCache {
  return new DigestCache(context.stateDirectory, room.repository.id, source.name)
}

/** A diff will want the full's table again. */
function keptInCache({ history }: BackUpTask): string[] {
  return history.manifests
    .filter(({ type }) => type === 'full')
    .map(({ id }) => id)
    .slice(-1)
}

function assertSound({ source, request }: BackUpTask, checks: readonly Check[]): void {
  const failed = checks.filter(({ status }) => status === 'failed')
  const [first] = failed
  if (first === undefined || request.allowDamaged) return
  const detail = first.detail.split('\n').slice(0, 3).join('; ')
  throw new NexusError('damage', 'source_damaged', `${source.name}: ${source.path} fails ${first.name}: ${detail}`, {
    hint: `no backup was kept; to keep one of the damaged database: nexus-backup create ${source.name} --allow-damaged`,
  })
}
