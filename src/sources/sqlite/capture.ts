import { closeSync, fstatSync, openSync, statSync } from 'node:fs'
import { errnoOf, NexusError } from '../../errors.js'
import type { FileImage } from '../../image/file-image.js'
import { changedSince } from './changed-since.js'
import { recoverHotJournal } from './hot-journal.js'
import { Pin } from './pin.js'
import type { CheckOutcome, PinnedSnapshot } from './pin-protocol.js'
import { type OpenedDatabase, openDatabaseFile } from './preflight.js'
import { copyFromReadOnlyMedia } from './read-only-media.js'
import { stageCopy } from './staged-copy.js'
import { userName } from './users.js'
import { indexWal, readWalHeader, type WalHeader } from './wal.js'
import { liveImage, stagedImage } from './wal-image.js'

/** A database may be replaced just while it is opened; more often than this is no accident. */
const ATTEMPTS = 5

/** What the next backup needs to know of this one; kept in the manifest's `facts`. */
export interface SqliteFacts {
  device: number
  inode: number
  page_size: number
  journal_mode: string
  uid: number
  gid: number
  owner: string
  /** Permission bits. */
  mode: number
  /** Position in the write-ahead log, for finding what changed without reading the database; null when unknown. */
  wal: { salts: string; frame: number; checksum: [number, number] } | null
}

/** A consistent image of a database, held open. */
export interface SqliteCapture {
  image: FileImage
  /** The instant the image stands for: when it was pinned, however long reading it takes. */
  capturedAt: Date
  facts: SqliteFacts
  sqliteVersion: string
  /**
   * Blocks that may differ from the image of an earlier capture, ascending, where the write-ahead log still holds
   * everything written since; null when only reading all pages can tell.
   */
  changedSince(earlier: { facts: Record<string, unknown>; blocks: number }): Promise<Uint32Array | null>
  /** Runs SQLite's check and content checks on exactly this image. */
  check(level: 'integrity' | 'quick' | 'none', queries: string[]): Promise<CheckOutcome[]>
  /** Call after the last read: proves that the image stayed what it was. @throws NexusError `source_moved` */
  confirm(): Promise<void>
  close(): Promise<void>
}

export interface CaptureSettings {
  /** Effective user id of this process. */
  uid: number
  /** Directory for a copy, made and removed by the caller; used outside WAL mode only. */
  staging: string
  signal: AbortSignal
  now(): Date
}

/**
 * Opens a consistent image of a SQLite database without writing to it, checkpointing it or blocking its writers for
 * longer than a copy takes.
 *
 * @throws NexusError for everything design section 4 lists: missing, no database, damaged, busy, not ours
 */
export async function captureSqlite(path: string, settings: CaptureSettings): Promise<SqliteCapture> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await captureOnce(path, settings)
    } catch (error) {
      const again = error instanceof NexusError && error.code === 'source_moved' && attempt < ATTEMPTS
      if (!again) throw error
    }
  }
}

async function captureOnce(path: string, settings: CaptureSettings): Promise<SqliteCapture> {
  const opened = openDatabaseFile(path, settings.uid)
  try {
    const pin = await Pin.on(opened.path, settings.signal)
    const capturedAt = settings.now()
    try {
      if (statSync(opened.path).ino !== opened.inode) throw moved(path, 'it was replaced while being opened')
      if (pin.snapshot.journalMode === 'wal') return await liveCapture(opened, pin, capturedAt, settings)
      const size = fstatSync(opened.fd).size
      const staged = await stageCopy(opened.fd, size, settings.staging, settings.signal)
      return await stagedCapture(opened, staged, { capturedAt, pin: await pin.moveTo(staged) })
    } catch (error) {
      await pin.release()
      throw error
    }
  } catch (error) {
    try {
      const capturedAt = settings.now()
      const staged =
        (await recoverHotJournal(error, opened, settings)) ?? (await copyFromReadOnlyMedia(error, opened, settings))
      if (staged !== null) {
        const pin = await Pin.on(staged, settings.signal)
        return await stagedCapture(opened, staged, { capturedAt, pin })
      }
    } catch (failure) {
      closeSync(opened.fd)
      throw failure
    }
    closeSync(opened.fd)
    throw error
  }
}

/** WAL mode: the database file and, over it, the log's frames up to the pinned commit. */
async function liveCapture(
  opened: OpenedDatabase,
  pin: Pin,
  capturedAt: Date,
  settings: CaptureSettings,
): Promise<SqliteCapture> {
  const { snapshot } = pin
  const log = snapshot.wal === null ? null : openLog(opened.path)
  try {
    const header = log === null ? null : await readWalHeader(log)
    const overlay = await overlayOf(opened.path, pin, log, header, settings.signal)
    const image = liveImage({
      fd: opened.fd,
      log,
      overlay,
      pageSize: snapshot.pageSize,
      pageCount: snapshot.pageCount,
      storedBytes: fstatSync(opened.fd).size,
    })
    return {
      image,
      capturedAt,
      facts: factsOf(opened, pin),
      sqliteVersion: snapshot.sqliteVersion,
      changedSince: earlier => changedBlocks(earlier, { opened, pin, log, header, signal: settings.signal }),
      async check(level, queries) {
        // With frames in the log the file need not be whole: a checkpoint has yet to lengthen it.
        const cut = snapshot.wal === null ? missingEnd(snapshot, fstatSync(opened.fd).size) : []
        return [...cut, ...(await pin.check(level, queries))]
      },
      async confirm() {
        if (overlay === null || log === null) return
        if ((await readWalHeader(log))?.salts !== snapshot.wal?.salts)
          throw moved(opened.path, 'its log was started over')
      },
      async close() {
        await pin.release()
        if (log !== null) closeSync(log)
        closeSync(opened.fd)
      },
    }
  } catch (error) {
    if (log !== null) closeSync(log)
    throw error
  }
}

function openLog(path: string): number {
  try {
    return openSync(`${path}-wal`, 'r')
  } catch (error) {
    // The snapshot has a log: whoever took it away is replacing the database.
    if (errnoOf(error) === 'ENOENT') throw moved(path, 'its log is gone')
    throw error
  }
}

async function overlayOf(path: string, pin: Pin, log: number | null, header: WalHeader | null, signal: AbortSignal) {
  const { wal, pageSize } = pin.snapshot
  if (wal === null || wal.backfilled) return null
  if (log === null || header === null || header.salts !== wal.salts || header.pageSize !== pageSize) {
    throw moved(path, 'its log does not match the snapshot')
  }
  const overlay = await indexWal(
    log,
    header,
    { from: 0, start: header.checksum, to: wal.frame, end: wal.checksum },
    signal,
  )
  if (overlay === null) throw moved(path, 'its log does not match its own checksums')
  return overlay
}

/** Changes can be told from the log only while the database is the very file of the earlier image. */
async function changedBlocks(
  earlier: { facts: Record<string, unknown>; blocks: number },
  now: { opened: OpenedDatabase; pin: Pin; log: number | null; header: WalHeader | null; signal: AbortSignal },
): Promise<Uint32Array | null> {
  const { wal: position, pageCount, pageSize } = now.pin.snapshot
  const { log, header, opened } = now
  const { inode, device, page_size: pageSizeBefore, wal } = earlier.facts
  if (log === null || header === null || position === null) return null
  if (inode !== opened.inode || device !== opened.device || pageSizeBefore !== pageSize) return null
  return changedSince({ wal, blocks: earlier.blocks }, { log, header, position, pageCount }, now.signal)
}

/** Any other journal mode: a copy taken under the pin, which blocks writers, so everything else works on the copy. */
async function stagedCapture(
  opened: OpenedDatabase,
  staged: string,
  { capturedAt, pin }: { capturedAt: Date; pin: Pin },
): Promise<SqliteCapture> {
  const facts = factsOf(opened, null)
  let fd: number | undefined
  try {
    const bytes = openSync(staged, 'r')
    fd = bytes
    const { pageSize, pageCount } = pin.snapshot
    facts.page_size = pageSize
    facts.journal_mode = pin.snapshot.journalMode
    return {
      image: stagedImage(bytes, { pageSize, pageCount, storedBytes: fstatSync(bytes).size }),
      capturedAt,
      facts,
      sqliteVersion: pin.snapshot.sqliteVersion,
      changedSince: async () => null,
      check: async (level, queries) => [
        ...missingEnd(pin.snapshot, fstatSync(bytes).size),
        ...(await pin.check(level, queries)),
      ],
      confirm: async () => {},
      async close() {
        await pin.release()
        closeSync(bytes)
        closeSync(opened.fd)
      },
    }
  } catch (error) {
    await pin.release()
    if (fd !== undefined) closeSync(fd)
    throw error
  }
}

/**
 * SQLite itself takes what lies beyond the end of a file for zeros when less than a page is missing (pager.c, readDbPage,
 * pagerPagecount), and quick increments run no integrity_check: a file that was cut off must not pass for sound.
 */
function missingEnd(snapshot: PinnedSnapshot, bytes: number): CheckOutcome[] {
  const whole = snapshot.pageCount * snapshot.pageSize
  if (bytes >= whole) return []
  const detail = `the file is cut off: it has ${bytes} bytes and ${snapshot.pageCount} pages need ${whole}`
  return [{ name: 'file_size', kind: 'integrity', status: 'failed', detail }]
}

function factsOf(opened: OpenedDatabase, pin: Pin | null): SqliteFacts {
  const wal = pin?.snapshot.wal ?? null
  return {
    device: opened.device,
    inode: opened.inode,
    page_size: pin?.snapshot.pageSize ?? opened.header.pageSize,
    journal_mode: pin?.snapshot.journalMode ?? 'delete',
    uid: opened.uid,
    gid: opened.gid,
    owner: userName(opened.uid),
    mode: opened.mode & 0o777,
    wal: wal === null ? null : { salts: wal.salts, frame: wal.frame, checksum: [wal.checksum[0], wal.checksum[1]] },
  }
}

function moved(path: string, why: string): NexusError {
  return new NexusError('failed', 'source_moved', `${path} changed under the reader: ${why}`, { hint: 'run it again' })
}
