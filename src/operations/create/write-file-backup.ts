import { basename, join } from 'node:path'
import type { SqliteSourceSettings } from '../../config/settings.js'
import { DigestTable } from '../../image/digest-table.js'
import { allFrames, someFrames } from '../../image/file-image.js'
import { storeAll, storeChanged } from '../../image/store.js'
import type { Frame } from '../../image/types.js'
import { makeBackupId, partNameFor } from '../../repository/layout.js'
import type { BackupType, Check } from '../../repository/manifest.js'
import type { SealedWriter } from '../../repository/sealed/sealed-backup.js'
import type { SqliteCapture } from '../../sources/sqlite/capture.js'
import type { CheckOutcome } from '../../sources/sqlite/pin-protocol.js'
import type { CheckLevel } from '../requests.js'
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
  return commitBackup(task, id, async writer => {
    const reading = await readingOf(task, captured)
    try {
      const level = request.check ?? source.check ?? (inherits ? 'integrity' : defaultLevel(plan.type, reading))
      // The pinned connection checks while the workers read: they are different threads.
      const checking = capture.check(level, source.checks)
      checking.catch(() => {})
      const { tablePath, ...image } = await storeImage(task, captured, { writer, reading })
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
    } finally {
      reading.before?.close()
    }
  })
}

/** What of an image is read, and what is known of the backup before. */
interface Reading {
  before: DigestTable | null
  frames: Iterable<Frame>
  /** Bytes of the frames. */
  bytes: number
}

/** Bytes of a database that SQLite looks through in a small part of a second. */
const SMALL_DATABASE = 64 * 1024 * 1024

/** A quick check costs less than reading and hashing all of a database, and far more than reading what a log changed. */
function defaultLevel(type: BackupType, { bytes, size }: { bytes: number; size: number }): CheckLevel {
  if (type === 'full') return 'integrity'
  return bytes >= size || size <= SMALL_DATABASE ? 'quick' : 'none'
}

/** A source is not called sound on the word of a check that could not be run. */
function asRecorded(check: CheckOutcome): Check {
  return { ...check, status: check.status === 'ok' ? 'ok' : 'failed' }
}

async function storeImage(
  task: BackUpTask,
  captured: CapturedFile,
  { writer, reading: { before, frames, bytes } }: { writer: SealedWriter; reading: Reading },
): Promise<StoredImage & { tablePath: string }> {
  const { context, plan, pool, source } = task
  const { image } = captured.capture
  const fileName = partNameFor(basename(captured.source.path), '')
  const full = plan.parent === null
  const digestSeed = digestSeedOf(plan)
  const tablePath = join(captured.scratch, 'digests')
  const rows = Math.ceil(image.size / image.blockSize)
  const table = before === null ? DigestTable.create(tablePath, rows) : DigestTable.copyOf(before, tablePath, rows)
  try {
    const part = await writer.create(full ? partNameFor(fileName, '.zst') : 'blocks.zst')
    const index = await writer.create('blocks.idx')
    let done = 0
    const advance = (read: number) => {
      done += read
      context.progress({ phase: `${source.name}: ${plan.type} backup`, done, total: bytes })
    }
    const digest = { algorithm: source.digestAlgorithm, seed: digestSeed }
    const settings = { pool, digest, work: { signal: context.signal, advance } }
    const target = { part, index, table }
    const count = await (before === null
      ? storeAll(frames, target, settings)
      : storeChanged(frames, before, target, settings))
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
    table.close()
  }
}

/** The blocks that must be looked at: all of them, or those that the write-ahead log names. */
async function readingOf(task: BackUpTask, { capture, scratch }: CapturedFile): Promise<Reading & { size: number }> {
  const { image } = capture
  const { size } = image
  const { parent } = task.plan
  if (parent === null) return { before: null, frames: allFrames(image), bytes: size, size }
  const before = await parentDigests(task, parent, scratch)
  try {
    const blocks = await capture.changedSince({ facts: parent.facts, blocks: before.rows })
    if (blocks === null) return { before, frames: allFrames(image, SCAN_BYTES), bytes: size, size }
    return { before, frames: someFrames(image, blocks), bytes: blocks.length * image.blockSize, size }
  } catch (error) {
    before.close()
    throw error
  }
}
