import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import type { TreeEntry } from '../../image/tree/types.js'
import { bySequence } from '../../policy/chains.js'
import type { Manifest } from '../../repository/manifest.js'
import type { SourceRoom } from '../../repository/types.js'
import { Chooser, NearNames } from '../../sources/files/choose.js'
import { shown } from '../../system/file-names.js'
import { lockOptions, withLocks } from '../locked.js'
import type { ListedProblem } from '../results.js'
import { roomsOf } from '../rooms.js'
import { openBackup } from '../sealing/open-backup.js'
import { shellQuoted } from '../shell.js'
import { survey } from '../survey.js'
import { eachEntry } from '../trees/each-entry.js'
import { type ListedFile, listedFile, pathOf, patternRoots } from './listed-file.js'

export interface FileHistoryRequest {
  repositories: readonly RepositorySettings[]
  /** Every source without it. */
  source: string | undefined
  /** As in a source's `exclude`; a directory is taken with what it holds. */
  pattern: string
}

/** A file as backups hold it that follow each other and in which it is the same by size, time, mode, owner and link. */
export interface FileVersion extends ListedFile {
  source: string
  repository: string
  /** Ids of the oldest and of the newest backup that hold it so, and when they were captured. */
  first: string
  first_captured_at: string
  last: string
  last_captured_at: string
  /** How many hold it so. */
  backups: number
}

export interface FileHistoryResult {
  command: 'list'
  /** By source and path, the newest version first. */
  versions: FileVersion[]
  /** Backups whose lists could not be read. */
  problems: ListedProblem[]
}

/**
 * Which backups of a source hold a file, and which versions of it. Only backups that are ours and can be restored count.
 *
 * @throws NexusError `not-found` (`source_not_found`, `nothing_included`), `usage` (`pattern_invalid`)
 */
export async function fileHistory(context: Context, request: FileHistoryRequest): Promise<FileHistoryResult> {
  const { repositories, source, pattern } = request
  const histories: RoomHistory[] = []
  for (const room of await roomsOf(repositories, source)) {
    const purpose = `list --files of ${room.name}`
    const history = new RoomHistory(context, room, pattern)
    await withLocks(room, [['delete', 'shared']], lockOptions(context, purpose), () => history.read())
    histories.push(history)
  }
  const versions = histories.flatMap(history => history.versions())
  const problems = histories.flatMap(history => history.problems)
  if (versions.length > 0 || problems.length > 0) return { command: 'list', versions, problems }
  const near = [...new Set(histories.flatMap(history => history.near()))].slice(0, 3).map(shown)
  const where = source === undefined ? 'no backup' : `no backup of ${source}`
  throw new NexusError(
    'not-found',
    'nothing_included',
    `${where} holds anything that matches ${shellQuoted(pattern)}`,
    {
      hint: `${near.length === 0 ? '' : `there is ${near.join(', ')}; `}see what the latest holds: nexus-backup list ${source ?? 'SOURCE'} --files`,
    },
  )
}

/** The versions of what matches in the backups of one source, gathered from the oldest on. */
class RoomHistory {
  readonly problems: ListedProblem[] = []
  readonly #context: Context
  readonly #room: SourceRoom
  readonly #pattern: string
  readonly #done: FileVersion[] = []
  /** Versions that the last backup read has, by path. */
  #current = new Map<string, FileVersion>()
  /** Names in the newest backup that are like the pattern's. */
  #near: string[] = []

  constructor(context: Context, room: SourceRoom, pattern: string) {
    this.#context = context
    this.#room = room
    this.#pattern = pattern
  }

  async read(): Promise<void> {
    const { manifests, broken } = await survey(this.#room, this.#context)
    const readable = manifests.filter(({ id, tree }) => tree !== undefined && !broken.has(id)).sort(bySequence)
    await this.#room.thaw(readable.map(({ id }) => id))
    for (const [done, manifest] of readable.entries()) {
      this.#context.signal.throwIfAborted()
      const phase = `${this.#room.name}: reading lists of files`
      this.#context.progress({ phase, done, total: readable.length, unit: 'items' })
      await this.#take(manifest, done === readable.length - 1)
    }
  }

  /** By path, the newest first. */
  versions(): FileVersion[] {
    const newestFirst = [...this.#done, ...this.#current.values()].reverse()
    return newestFirst.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
  }

  near(): string[] {
    return this.#near
  }

  async #take(manifest: Manifest, isNewest: boolean): Promise<void> {
    const { id, source } = manifest
    let found: TreeEntry[]
    try {
      found = await this.#matches(manifest, isNewest)
    } catch (error) {
      if (!(error instanceof NexusError) || error.kind !== 'damage') throw error
      const { location: repository } = this.#room.repository
      this.problems.push({ id, source, repository, status: 'damaged', problem: messageOf(error) })
      return
    }
    const next = new Map<string, FileVersion>()
    for (const entry of found) {
      const file = listedFile(manifest, entry)
      const before = this.#current.get(file.path)
      next.set(
        file.path,
        before !== undefined && isSame(before, file) ? this.#later(before, manifest) : this.#first(file, manifest),
      )
    }
    // A version that is not the same any more, or gone, has ended.
    for (const [path, version] of this.#current) {
      const now = next.get(path)
      if (now === undefined || now.first !== version.first) this.#done.push(version)
    }
    this.#current = next
  }

  async #matches(manifest: Manifest, isNewest: boolean): Promise<TreeEntry[]> {
    const found: TreeEntry[] = []
    const names = new NearNames(this.#pattern)
    const opened = await openBackup(this.#context, this.#room.repository, manifest)
    // The roots are among what an encrypted backup seals.
    const chooser = new Chooser({ include: [this.#pattern], exclude: [] }, patternRoots(opened.manifest))
    await eachEntry(this.#room, opened, entry => {
      if (chooser.wants(entry)) found.push(entry)
      else if (isNewest) names.look(pathOf(manifest, entry.path))
    })
    if (isNewest) this.#near = names.paths()
    return found
  }

  #first(file: ListedFile, { id, source, captured_at }: Manifest): FileVersion {
    const { location: repository } = this.#room.repository
    const range = { first: id, first_captured_at: captured_at, last: id, last_captured_at: captured_at }
    return { ...file, source, repository, ...range, backups: 1 }
  }

  #later(version: FileVersion, { id, captured_at }: Manifest): FileVersion {
    return { ...version, last: id, last_captured_at: captured_at, backups: version.backups + 1 }
  }
}

/** Told from the lists alone: no content is read. */
function isSame(a: ListedFile, b: ListedFile): boolean {
  return (
    a.type === b.type &&
    a.size === b.size &&
    a.modified === b.modified &&
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.link === b.link
  )
}
