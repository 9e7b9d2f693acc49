import { basename, join } from 'node:path'
import type { SqliteSourceSettings } from '../../config/settings.js'
import { DigestTable } from '../../image/digest-table.js'
import { allFrames, someFrames } from '../../image/file-image.js'
import { storeAll, storeChanged } from '../../image/store.js'
import type { Frame } from '../../image/types.js'
import { makeBackupId, partNameFor } from '../../repository/layout.js'
import type { Check } from '../../repository/manifest.js'
import type { SealedWriter } from '../../repository/sealed/sealed-backup.js'
import type { SqliteCapture } from '../../sources/sqlite/capture.js'
import type { CheckOutcome } from '../../sources/sqlite/pin-protocol.js'
import type { OpenedBackup } from '../sealing/open-backup.js'
import type { BackUpTask } from './back-up.js'
import { digestSeedOf, parentDigests } from './chain-digests.js'
import { commitBackup } from './commit-backup.js'
import { manifestOf, type StoredImage } from './manifest-of.js'
import { assertSound, standsOnUnsound } from './sound-source.js'

/** Bytes a worker scans at a time when only changes are stored: fewer messages than frames of 1 MiB need. */
const SCAN_BYTES = 4 * 1024 * 1024

/** A consistent image of one file, and where scratch files go. */
interface CapturedFile {
  source: SqliteSourceSettings
  capture: SqliteCapture
  scratch: string
}

/** Writes a backup of a captured database and commits it. @throws NexusError `damage` when it fails its checks */
export async function writeFileBackup(task: BackUpTask, captured: CapturedFile): Promise<OpenedBackup> {
  const { plan, request } = task
  const { capture, source } = captured
  const id = makeBackupId(capture.capturedAt, plan.type)
  // The mark of what this one stands on is taken over, or taken back by a check.
  const inherits = standsOnUnsound(task)
  const level = request.check ?? (plan.type === 'full' || inherits ? 'integrity' : 'none')
  return commitBackup(task, id, async writer => {
    // The pinned connection checks while the workers read: they are different threads.
    const checking = capture.check(level, source.checks)
    checking.catch(() => {})
    const { tablePath, ...image } = await storeImage(task, captured, writer)
    await capture.confirm()
    const checks = (await checking).map(asRecorded)
    if (!inherits) assertSound(task, source.path, checks)
    const { capturedAt, facts, sqliteVersion } = capture
    const manifest = manifestOf(task, {
      id,
      ...image,
      capturedAt,
      checks,
      facts: { ...facts },
      versions: { sqlite: sqliteVersion },
      warnings: [],
      inheritsDamage: inherits && level !== 'integrity',
    })
    return { manifest, tablePath, treePath: null }
  })
}

/** A source is not called sound on the word of a check that could not be run. */
function asRecorded(check: CheckOutcome): Check {
  return { ...check, status: check.status === 'ok' ? 'ok' : 'failed' }
}

async function storeImage(
  task: BackUpTask,
  captured: CapturedFile,
  writer: SealedWriter,
): Promise<StoredImage & { tablePath: string }> {
  const { context, plan, pool, source } = task
  const { image } = captured.capture
  const fileName = partNameFor(basename(captured.source.path), '')
  const full = plan.parent === null
  const digestSeed = digestSeedOf(plan)
  const before = plan.parent === null ? null : await parentDigests(task, plan.parent, captured.scratch)
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
    const settings = { pool, digest, work: { signal: context.signal, advance } }
    const target = { part, index, table }
    const count = await (before === null
      ? storeAll(frames.list, target, settings)
      : storeChanged(frames.list, before, target, settings))
    return {
      parts: [
        { ...(await part.close()), role: full ? 'image' : 'blocks' },
        { ...(await index.close()), role: 'index' },
      ],
      files: [{ path: fileName, size: image.size, block_size: image.blockSize }],
      bytesSource: image.size,
      blocksTotal: rows,
      blocksStored: count.blocks,
      digestSeed,
      imageDigest: table.imageDigest(),
      tablePath,
    }
  } finally {
    before?.close()
    table.close()
  }
}

/** The blocks that must be looked at: all of them, or those that the write-ahead log names. */
async function framesToRead(
  task: BackUpTask,
  { capture }: CapturedFile,
  before: DigestTable | null,
): Promise<{ list: Iterable<Frame>; bytes: number }> {
  const { image } = capture
  if (before === null || task.plan.parent === null) return { list: allFrames(image), bytes: image.size }
  const blocks = await capture.changedSince({ facts: task.plan.parent.facts, blocks: before.rows })
  if (blocks === null) return { list: allFrames(image, SCAN_BYTES), bytes: image.size }
  return { list: someFrames(image, blocks), bytes: blocks.length * image.blockSize }
}
