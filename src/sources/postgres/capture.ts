import { randomBytes } from 'node:crypto'
import { realpathSync, statSync } from 'node:fs'
import { messageOf, NexusError } from '../../errors.js'
import { isPlainEntry } from '../../image/tree/tree-entry.js'
import type { TreeEntry, TreeInput } from '../../image/tree/types.js'
import { shown } from '../../system/file-names.js'
import type { TreeCapture, TreeOutcome } from '../tree-capture.js'
import { ArchivePipes, pipesLate } from './archive-pipes.js'
import { BackupNotes } from './backup-notes.js'
import { type BaseBackup, type BaseBackupEnd, type BaseBackupWishes, startBaseBackup } from './base-backup.js'
import { vulnerableClient } from './client-versions.js'
import { clusterFacts } from './cluster-facts.js'
import { readConfigurationFiles } from './configuration-files.js'
import { namedRelations } from './damaged-pages.js'
import { type FollowedLinks, followedMembers, followLinks, walDirectoryOf } from './data-links.js'
import { runsHere } from './locality.js'
import { type ClusterProbe, probeCluster, serverTime } from './probe.js'
import type { PostgresSession } from './psql.js'
import { type Account, namedAccount, ownerAccount, readFileAs } from './run-as.js'
import { LogFilter, logsWithin } from './server-logs.js'
import { type ClusterSettings, openSession } from './session.js'
import { type HeldWal, holdWal } from './slot.js'
import { joinTablespaces } from './tablespaces.js'
import { TarScanner } from './tar-scan.js'

/** A page of PostgreSQL's default build. */
const BLOCK_BYTES = 8192
/**
 * pg_basebackup before 15 does not pad the manifest that it puts behind the server's archive on stdout (13.16, reproduced):
 * the zeros that end the archive stand too early, and with what is missing to a block at its end it is whole.
 */
const TAR_BLOCK = 512
/** Damaged pages named in a check's detail. */
const SHOWN_FAILURES = 10
/** Times that pg_basebackup may be faster than the pipes that are put into its way. */
const MOST_STARTS = 5

/** How a cluster is copied. */
export interface CaptureWishes extends BaseBackupWishes {
  /** Whether the server's own log files are wanted. */
  serverLogs?: boolean | undefined
}

/** What a capture needs of the world. */
export interface CaptureSurroundings {
  /** For libpq and `PATH`. */
  env: Record<string, string | undefined>
  signal: AbortSignal
  now(): Date
}

/** A cluster about to be copied: nothing was asked of the server yet but what it is. */
export interface ClusterCapture extends TreeCapture {
  /** For the source's claim and the free-space check, before anything is opened. */
  cluster: ClusterProbe
}

/** A cluster that was asked what it is, and the way to ask it more. */
export interface KnownCluster {
  session: PostgresSession
  cluster: ClusterProbe
}

/**
 * Looks at a cluster: finds programs and user, asks the server what it is, refuses what cannot be backed up.
 *
 * @throws NexusError as `openSession` and `probeCluster` do; `data_directory_differs`
 */
export async function lookAtCluster(
  settings: ClusterSettings,
  surroundings: Pick<CaptureSurroundings, 'env' | 'signal'>,
): Promise<KnownCluster> {
  const session = await openSession(settings, ['pg_basebackup', 'psql'], surroundings)
  const cluster = await probeCluster(session)
  const [problem] = directoryProblems(settings, cluster)
  if (problem !== undefined) throw problem
  return { session, cluster }
}

/** Prepares the base backup of a cluster. */
export async function captureCluster(
  known: KnownCluster,
  surroundings: CaptureSurroundings,
  wishes: CaptureWishes = {},
): Promise<ClusterCapture> {
  const { cluster } = known
  const begunAt = surroundings.now()
  const owner = runsHere(cluster) ? await ownerOf(cluster.dataDirectory) : null
  return new Capture(begunAt, known, owner, { surroundings, wishes })
}

class Capture implements ClusterCapture {
  readonly begunAt: Date
  readonly name = 'base'
  readonly versions: Record<string, string>
  readonly cluster: ClusterProbe
  readonly #session: PostgresSession
  /** Null when the server is on another machine. */
  readonly #owner: Account | null
  readonly #surroundings: CaptureSurroundings
  readonly #wishes: CaptureWishes
  /** Directory of the server's logs, in the data directory, whose files are left out. */
  readonly #logs: string | null
  #filter: LogFilter | null = null
  readonly #notes = new BackupNotes()
  /** Names in the data directory of which the server may say what it likes. */
  #expected: ReadonlySet<string> = new Set()
  #followWarnings: string[] = []
  #held: HeldWal | undefined
  #backup: BaseBackup | undefined
  #pipes: ArchivePipes | undefined
  #ended: { end: BaseBackupEnd; at: Date; warnings: string[] } | undefined

  constructor(
    begunAt: Date,
    { session, cluster }: KnownCluster,
    owner: Account | null,
    { surroundings, wishes }: { surroundings: CaptureSurroundings; wishes: CaptureWishes },
  ) {
    this.begunAt = begunAt
    this.cluster = cluster
    this.#wishes = wishes
    this.#logs = wishes.serverLogs === true ? null : logsWithin(cluster.dataDirectory, cluster.logDirectory)
    this.versions = { postgresql: cluster.serverVersion, pg_basebackup: session.programs.version }
    this.#session = session
    this.#owner = owner
    this.#surroundings = surroundings
  }

  async open(): Promise<TreeInput> {
    this.#session.signal.throwIfAborted()
    this.#held = await holdWal(this.#session, `nexus_backup_${randomBytes(6).toString('hex')}`)
    const followed = await followedLinks(this.cluster)
    const { files, directories, warnings } = followed
    const logs = this.#logs === null ? [] : [this.#logs]
    this.#expected = new Set([...files.map(({ name }) => name), ...directories, ...logs])
    this.#followWarnings = warnings
    const backup = this.cluster.tablespaces.length === 0 ? this.#streamed() : await this.#piped()
    const tar =
      files.length === 0 ? backup : joined(followedMembers(followed, statSync(this.cluster.dataDirectory)), backup)
    return { blockSize: BLOCK_BYTES, carried: [], tar, describe: entry => this.#owned(entry) }
  }

  async finish(): Promise<TreeOutcome> {
    if (this.#ended === undefined) {
      throw new NexusError('failed', 'backup_incomplete', 'the base backup was not read to its end', {
        hint: 'run it again',
      })
    }
    const { cluster } = this
    const { end, at, warnings } = this.#ended
    const span = this.#notes.span()
    const { uid, gid } = this.#notes.owner ?? { uid: 0, gid: 0 }
    const reading = runsHere(cluster) ? await readerOf(cluster) : null
    const configuration = await readConfigurationFiles(cluster.configurationFiles, cluster.dataDirectory, reading)
    const walDirectory = runsHere(cluster) ? walDirectoryOf(cluster.dataDirectory) : null
    const outside = { configurationFiles: configuration.files, walDirectory }
    const vulnerable = vulnerableClient(this.#session.programs.version, this.#session.programs.directory)
    const owner = { ...(this.#names({ uid, gid }) ?? { owner: 'postgres', group: 'postgres' }), uid, gid }
    return {
      capturedAt: at,
      facts: {
        ...clusterFacts(cluster, span, owner, {
          ...outside,
          serverLogsLeftOut: this.#filter?.leftOut ? this.#logs : null,
        }),
      },
      checks: cluster.dataChecksums ? [await this.#checksumCheck(end)] : [],
      warnings: [
        ...(vulnerable === null ? [] : [vulnerable]),
        ...configuration.warnings,
        ...this.#followWarnings,
        ...end.warnings,
        ...warnings,
      ],
      incomplete: false,
    }
  }

  async close(): Promise<void> {
    await this.#backup?.stop()
    await this.#held?.release()
    this.#pipes?.close()
  }

  #start(directory: string | null): BaseBackup {
    const { maxRate, checkpoint } = this.#wishes
    const { dataDirectory } = this.cluster
    const options = { directory, dataDirectory, expected: this.#expected, maxRate, checkpoint }
    const backup = startBaseBackup(this.#session, options)
    this.#backup = backup
    return backup
  }

  #streamed(): AsyncIterable<Uint8Array> {
    const backup = this.#start(null)
    return this.#watched(backup.stdout ?? [], () => this.#conclude(backup))
  }

  /** Of a cluster with tablespaces, whose archives cannot all go to stdout. */
  async #piped(): Promise<AsyncIterable<Uint8Array>> {
    const names = [...this.cluster.tablespaces.map(({ oid }) => String(oid)), 'base']
    for (let start = 1; start <= MOST_STARTS; start += 1) {
      const pipes = await ArchivePipes.make(names, this.#session.account)
      this.#pipes = pipes
      const backup = this.#start(pipes.directory)
      if (await pipes.connect(backup.ended)) {
        const ended = () => this.#conclude(backup)
        const archives = { archives: pipes.archives(), directory: pipes.directory, ended }
        return this.#watched(joinTablespaces(archives), async () => {})
      }
      await backup.stop()
      pipes.close()
    }
    throw pipesLate()
  }

  async *#watched(
    chunks: AsyncIterable<Buffer> | Iterable<Buffer>,
    conclude: () => Promise<void>,
  ): AsyncGenerator<Uint8Array> {
    const scanner = new TarScanner()
    const filter = this.#logs === null ? null : new LogFilter(this.#logs)
    this.#filter = filter
    let length = 0
    try {
      for await (const chunk of chunks) {
        length += chunk.length
        this.#session.signal.throwIfAborted()
        for (const piece of scanner.push(chunk)) this.#notes.take(piece)
        if (filter === null) yield chunk
        else yield* filter.push(chunk)
      }
    } catch (error) {
      this.#session.signal.throwIfAborted()
      throw error
    }
    // Also when it ended early: why pg_basebackup failed says more than an archive cut off.
    await conclude()
    const rest = length % TAR_BLOCK
    if (filter !== null) yield filter.end()
    else if (rest > 0) yield Buffer.alloc(TAR_BLOCK - rest)
  }

  /** The base backup is over: its WAL is in the archive, the slot may go, and no commit in it is later than now. */
  async #conclude(backup: BaseBackup): Promise<void> {
    const end = await backup.ended
    await this.#held?.release()
    try {
      this.#ended = { end, at: await serverTime(this.#session), warnings: [] }
    } catch (error) {
      this.#session.signal.throwIfAborted()
      const warning = `captured_at is by this machine’s clock, the server could not be asked any more: ${messageOf(error)}`
      this.#ended = { end, at: this.#surroundings.now(), warnings: [warning] }
    }
  }

  async #checksumCheck({ checksumFailures: failures }: BaseBackupEnd): Promise<TreeOutcome['checks'][number]> {
    const check = { name: 'page_checksums', kind: 'integrity' as const }
    if (failures.length === 0) return { ...check, status: 'ok', detail: 'every page’s checksum is right' }
    const shown = failures.slice(0, SHOWN_FAILURES).map(line => line.replace(/^WARNING:\s*/, ''))
    const more = failures.length > SHOWN_FAILURES ? [`and ${failures.length - SHOWN_FAILURES} more`] : []
    const named = await namedRelations(this.#session, shown)
    return { ...check, status: 'failed', detail: [...named, ...more].join('\n') }
  }

  /**
   * pg_basebackup gives its manifest to user 2048, group 1024 "for historical reasons" (bbstreamer_inject.c): on a restore
   * by root the server's user could not read it.
   */
  #owned(entry: TreeEntry): TreeEntry {
    if (!isPlainEntry(entry)) {
      throw new NexusError(
        'failed',
        'cluster_entry_impossible',
        `the cluster holds ${shown(entry.path)}, a ${entry.type}`,
        {
          hint: 'move it out of the data directory: no server made it',
        },
      )
    }
    const { uid, gid } = (entry.path === 'backup_manifest' ? this.#notes.owner : null) ?? entry
    return { ...entry, uid, gid, ...this.#names({ uid, gid }) }
  }

  /** The server writes "postgres" into every header whoever owns the files (PostgreSQL tar.c): the system knows better. */
  #names({ uid, gid }: { uid: number; gid: number }): { owner: string; group: string } | undefined {
    if (this.#owner?.uid !== uid || this.#owner.gid !== gid) return undefined
    return { owner: this.#owner.name, group: this.#owner.group }
  }
}

/** Of a server on another machine nothing can be followed: its warnings say what the backup lacks. */
async function followedLinks(cluster: ClusterProbe): Promise<FollowedLinks> {
  if (!runsHere(cluster)) return { files: [], directories: [], warnings: [] }
  const { dataDirectory, files: settings, configurationFiles: configuration } = cluster
  return followLinks(dataDirectory, { settings, configuration, read: await readerOf(cluster) })
}

/** Reads files of a server as its own user. */
async function readerOf({ dataDirectory }: ClusterProbe): Promise<(path: string, most: number) => Promise<Buffer>> {
  const account = await ownerAccount(dataDirectory)
  return (path, most) => readFileAs(account, path, most)
}

/** Members before an archive: tar knows no order. */
async function* joined(members: Iterable<Buffer>, archive: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* members
  yield* archive
}

async function ownerOf(dataDirectory: string): Promise<Account | null> {
  try {
    const { uid, gid } = statSync(dataDirectory)
    return await namedAccount(uid, gid)
  } catch {
    // Closed to us: the headers of the archive tell the numbers.
    return null
  }
}

/** Whether the server that answers is the one that the configuration means. */
export function directoryProblems(
  { name, dataDirectory }: Pick<ClusterSettings, 'name' | 'dataDirectory'>,
  cluster: Pick<ClusterProbe, 'dataDirectory'>,
): NexusError[] {
  if (dataDirectory === null || real(dataDirectory) === real(cluster.dataDirectory)) return []
  return [
    new NexusError(
      'configuration',
      'data_directory_differs',
      `${name}: the configuration names the data directory ${dataDirectory}, the server that answers runs on ${cluster.dataDirectory}`,
      { hint: 'correct data_directory or connection: they are two different clusters' },
    ),
  ]
}

function real(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}
