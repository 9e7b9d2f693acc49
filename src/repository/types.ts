import type { NexusError } from '../errors.js'
import type { Manifest, SourceKind } from './manifest.js'
import type { ProofKeeping } from './proof-keeping.js'
import type { BackupProofs, ProofReading } from './proofs.js'
import type { Lock, LockMode, LockName, LockOptions } from './storage/locks.js'
import type { PartWriter, PendingDirectory, SequentialReader, Storage, WrittenPart } from './storage/storage.js'
import type { ManifestMemory } from './unchanged.js'
import type { WalArchive } from './wal/types.js'
import type { WalSeal } from './wal/wal-seal.js'

/** What one directory under SOURCE/ turned out to be. */
export type Entry =
  | { status: 'ok'; id: string; manifest: Manifest }
  /** Listed but broken: no manifest, no SHA256SUMS, a manifest that does not match it or is not understood. */
  | { status: 'damaged'; id: string; problem: string }
  /** A `.partial-ID` of a run that is still writing or was killed. */
  | { status: 'partial'; id: string }

/**
 * What a verify or a drill found. Only bytes that differ from their digests are `damaged`. `source-damaged`: the bytes are
 * those that were captured, and SQLite or PostgreSQL find what they hold wrong. `drill-failed`: the drill could not be
 * carried out, which says nothing of the backup. `unread`: something could not be read.
 */
export type ProofStatus = 'ok' | 'damaged' | 'unread' | 'source-damaged' | 'drill-failed'

/** An outcome of a verify or drill: what is kept of earlier ones of a backup. */
export interface PastOutcome {
  /** ISO 8601 UTC. */
  at: string
  status: ProofStatus
  level: 'stored' | 'content' | 'drill'
  /** What a restore took, in milliseconds, and what was checked afterwards. */
  drill?: { restore_ms: number; checks: { name: string; status: string; detail: string }[] }
}

/** Result of a verify or drill of one backup: `SOURCE/proofs/ID-TIME.json`, write-once. */
export interface Proof extends PastOutcome {
  id: string
  findings: { part: string; problem: string }[]
}

/** Who writes into SOURCE/: two machines never interleave chains (design section 5). */
export interface Claim {
  kind: SourceKind
  /** sqlite and files: host and absolute path. postgres: system identifier; the host is only recorded. */
  host: string
  path: string | null
  system_identifier: string | null
}

/** What a repository offers to the operations. Opened with `openRepository`, made with `initRepository`. */
export interface Repository {
  readonly id: string
  readonly location: string
  readonly writable: boolean
  readonly storage: Storage
  /** Fingerprints of the epochs that the configuration pins; empty where it pins none. */
  readonly trustedEpochs: readonly string[]
  /** Names of the sources that have a directory here, sorted. */
  sources(): Promise<string[]>
  /** The room of one source, always the same one; it need not exist yet. Throws `usage` for a name that is not allowed. */
  source(name: string): SourceRoom
}

/** One source's part of a repository. */
export interface SourceRoom {
  readonly name: string
  readonly repository: Repository
  /**
   * Every backup directory, oldest sequence first; damaged and partial ones last. Asked again, it lists them anew and reads
   * only the manifests that it has not read yet.
   * @param how thorough: every manifest, or those of these backups, is read itself, where a summary or the memory would do
   *   otherwise; present: backups whose manifest must still be there to count as read; on a disk, the files of every one must
   *   be as they were; memory: what earlier runs have kept may do for backups that did not change, on a disk;
   *   onDamage: told of a summary that cannot be used, in whose place the files themselves are read
   */
  entries(how?: {
    thorough?: boolean | ReadonlySet<string>
    present?: readonly string[]
    memory?: ManifestMemory | undefined
    onDamage?: (error: NexusError) => void
  }): Promise<Entry[]>
  /** Reads the manifests of these backups themselves that were not. False where one is not what it was listed as. */
  confirm(ids: readonly string[]): Promise<boolean>
  /**
   * Sums up the manifests and proofs that were read one by one, where that makes reading them cheaper and there are enough
   * of them; after a prune also where the last summary holds little that is still there. The caller holds the writer lock.
   */
  summarize(after?: { pruned?: boolean }): Promise<void>
  /** Reads and checks source.json; undefined when nobody has claimed the name. */
  claim(): Promise<Claim | undefined>
  /** Claims that `--adopt` replaced, oldest first. Throws `damage`. */
  formerClaims(): Promise<Claim[]>
  /**
   * Claims the name for its first backup, or checks that the claim is the caller's.
   * Throws `refused` for somebody else's, with the hint to choose another name or `--adopt`.
   * With `adopt`, a new claim replaces the old one and true is returned: the next backup must be a full.
   */
  enter(claim: Claim, options: { adopt: boolean; now: Date }): Promise<boolean>
  /** Takes a lock of this source (section 5: writer exclusive; delete exclusive or shared). */
  lock(name: LockName, mode: LockMode, options: LockOptions): Promise<Lock>
  /** Makes sure that these backups can be read. @throws NexusError failed `thaw_requested`: asked for, and takes hours */
  thaw(ids: readonly string[]): Promise<void>
  /** Until when what is written now is locked by the store; undefined where it locks nothing. */
  lockEnd(): Date | undefined
  /** Extends the locks of these backups, on which a new one depends, where they end too early. Returns how many were. See Storage. */
  extendLocks(ids: readonly string[], date?: Date): Promise<number>
  /** Until when nobody can remove these backups, by their ids; those that are not locked are left out. */
  lockedUntil(ids: readonly string[]): Promise<Map<string, Date>>
  /**
   * Starts a backup directory. The caller holds the writer lock.
   * @param expected bytes that its largest file can have, as far as is known
   */
  begin(id: string, expected?: number): Promise<BackupWriter>
  /**
   * Starts the directory of a backup that comes from another repository, as it stands there. The caller holds the writer
   * lock.
   * @param expected bytes of its largest file
   */
  receive(id: string, expected: number): Promise<PendingDirectory>
  /** A file of a committed backup, from its beginning. */
  openPart(id: string, name: string): Promise<SequentialReader>
  /** SHA256SUMS of a backup, parsed: file name to lower-case hex. Throws `damage` when missing or not canonical. */
  checksums(id: string): Promise<Map<string, string>>
  /** Names of all files that lie in a backup's directory. */
  files(id: string): Promise<string[]>
  /** Removes one backup: first out of sight in one step, then its bytes. Returns bytes freed. Repeatable. */
  remove(id: string): Promise<number>
  /** Removes what killed runs left. The caller holds the writer lock. */
  removeLeftovers(): Promise<string[]>
  /**
   * What is known of the source's backups from proofs, oldest first, whoever wrote them.
   * @param onDamage told of each damaged one, which then counts for nothing; without it damage is thrown
   */
  proofs(onDamage?: (error: NexusError) => void): Promise<Proof[]>
  /** The proofs that count and those that do not, by the id of their backup. See `readProofs`. */
  readProofs(reading: ProofReading): Promise<Map<string, BackupProofs>>
  /** Keeps one proof beside those that are there, unsigned. */
  addProof(proof: Proof): Promise<void>
  /** Keeps one proof a backup, each in the place of all earlier ones of its backup. See `writeProof`. */
  keepProofs(proofs: readonly Proof[], how: ProofKeeping): Promise<void>
  /**
   * Removes the proofs of backups that are gone and those that others stand for, and puts one in the place of several. The
   * caller holds the writer lock.
   * @param ids of every directory of a backup
   */
  tidyProofs(ids: ReadonlySet<string>, how: ProofKeeping): Promise<void>
  /**
   * The archived log of one PostgreSQL system. Throws `usage` for what is no system identifier.
   * @param seal how it is sealed and opened; without it new files are stored in plain
   */
  wal(systemIdentifier: string, seal?: WalSeal): WalArchive
  /** Identifiers of the systems whose log is here; several after a pg_upgrade. */
  walSystems(): Promise<string[]>
}

export interface BackupWriter {
  readonly localPath: string | undefined
  create(name: string): Promise<PartWriter>
  /** Writes manifest.json and SHA256SUMS over `parts` and the manifest, makes all durable and visible. Returns it as stored. */
  commit(manifest: Manifest, parts: WrittenPart[]): Promise<Manifest>
  discard(): Promise<void>
}
