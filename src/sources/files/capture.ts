import { createHash } from 'node:crypto'
import type { TreePaths } from '../../image/tree/tree.js'
import type { CarriedFile, TreeEntry, TreeInput } from '../../image/tree/types.js'
import { type Attributes, hasAttributes } from '../../system/attributes.js'
import { secondsOf } from '../../system/times.js'
import type { TreeCapture, TreeOutcome } from '../tree-capture.js'
import { type Accounts, readAccounts } from './accounts.js'
import { archive } from './archive.js'
import { TreeDatabases } from './databases.js'
import { type EmptiedPlace, emptiedPlaces, placeFacts } from './emptied-places.js'
import { factsOf } from './entry-facts.js'
import type { Found, FoundStats } from './found.js'
import { FoundStore } from './found-store.js'
import { continuedFiles, nothingContinued } from './known-files.js'
import { leftOutOf } from './left-out.js'
import { nothingOwn, type OwnDirectories } from './own-directories.js'
import { newRemarks, type Remarks } from './remarks.js'
import { findRoots, type Root } from './roots.js'
import { type FileSystemPlace, type WalkRules, walk } from './walk.js'

/** Bytes: attachments change as a whole and logs at their end (design section 2). */
const BLOCK_BYTES = 128 * 1024

/** Directories and single files to be captured. */
export interface FilesSettings extends WalkRules {
  name: string
  /** Absolute, none inside another. */
  paths: readonly string[]
  /** Whether SQLite databases are captured as databases. Default false: those in use are told. */
  sqlite?: boolean
}

interface Surroundings {
  now(): Date
  signal: AbortSignal
  own?: OwnDirectories
  /** Nothing counts as unchanged: the parent holds zeros for what could not be read, and no time tells of which file. */
  reread?: boolean
  /** A directory for copies of databases, for a capture that is read; the caller's. */
  staging?: string
}

/** Files being captured: the walk is done, their content is still to be read. */
export interface FilesCapture extends TreeCapture {
  /** Stands for the file systems that everything lies on; the same as long as none was mounted, unmounted or replaced. */
  mounts: string
  /** Bytes of all files that the walk found. */
  size: number
  /** Directories that are empty now for an earlier backup's files lay on other file systems; see `emptiedPlaces`. */
  emptiedSince(before: () => Iterable<TreeEntry>): EmptiedPlace[]
}

/**
 * Captures directories and files as they are found, without a snapshot: each file is as it was at one instant between
 * `begunAt` and the end, and one that was changed while it was read is told. Roots that are symbolic links are followed,
 * others are kept as links; file systems mounted below a root belong to it.
 *
 * @throws NexusError `not-found` (`source_missing`), `refused` (`source_special`, `source_is_own`), `configuration`
 *   (`pattern_invalid`)
 */
export async function captureFiles(
  settings: FilesSettings,
  { now, signal, own = nothingOwn, reread = false, staging = undefined }: Surroundings,
): Promise<FilesCapture> {
  const begunAt = now()
  const remarks = newRemarks()
  const roots = findRoots(settings, own)
  const found = new FoundStore()
  const rules = { capture: settings.sqlite === true, staging: staging ?? null, remarks, signal, now }
  const databases = new TreeDatabases(rules)
  const places = await walk(roots, settings, { remarks, signal, own }, one => {
    found.add(one)
    databases.note(one)
  })
  databases.look()
  const capturing: Capturing = {
    databases,
    begunAt,
    remarks,
    found,
    roots,
    places,
    accounts: readAccounts(),
    signal,
    reread,
  }
  return {
    mounts: digestOf(places),
    size: found.bytes,
    emptiedSince: before => emptiedPlaces({ ...capturing, oneFileSystem: settings.oneFileSystem === true }, before),
    begunAt,
    name: settings.name,
    versions: {},
    open: async before => inputOf(capturing, before),
    finish: async () => outcomeOf(settings, capturing),
    close: async () => {},
  }
}

interface Capturing {
  databases: TreeDatabases
  begunAt: Date
  remarks: Remarks
  found: FoundStore
  roots: readonly Root[]
  places: readonly FileSystemPlace[]
  accounts: Accounts
  signal: AbortSignal
  reread: boolean
}

function inputOf(capturing: Capturing, before: TreePaths | null): TreeInput {
  const { found, remarks, signal, accounts, begunAt, databases } = capturing
  const places = new Map(capturing.places.map(place => [place.path, place]))
  const factsOfDirectory = ({ path, leftOut }: Found) => {
    const place = places.get(path)
    return {
      ...(place === undefined ? {} : placeFacts(place)),
      ...(leftOut === undefined ? {} : { left_out: leftOut }),
    }
  }
  const continued = before === null ? nothingContinued : continuedFiles(found, before, capturing)
  const isUnchanged = (at: number) => continued.isUnchanged(at) && !databases.mustRead(found.at(at).location)
  const entryOf = (entry: Found, stats: FoundStats, attributes: Attributes | undefined): TreeEntry => ({
    ...plainEntry(entry, stats, accounts),
    ...(attributes === undefined ? {} : { attributes }),
    base: entry.base ?? null,
    facts: entry.type === 'file' ? factsOf(stats, begunAt) : factsOfDirectory(entry),
  })
  const carried = {
    *[Symbol.iterator](): Generator<CarriedFile, void, void> {
      for (let at = 0; at < found.length; at += 1) {
        const base = continued.baseOf(at)
        if (base === null || !isUnchanged(at)) continue
        const entry = found.at(at)
        // A change of its attributes would have changed its ctime.
        const attributes = before?.fileEntry(base).attributes
        yield { entry: { ...entryOf(entry, entry, attributes), type: 'file', base } }
      }
    },
  }
  const toRead = function* (): Generator<Found, void, void> {
    for (let at = 0; at < found.length; at += 1) {
      if (!isUnchanged(at)) yield { ...found.at(at), base: continued.baseOf(at) }
    }
  }
  const announced = new Map<string, TreeEntry>()
  const onEntry = (entry: TreeEntry) => {
    announced.set(entry.path, entry)
  }
  return {
    blockSize: BLOCK_BYTES,
    carried,
    tar: archive(toRead(), { remarks, signal, entryOf, onEntry, databases }),
    describe: ({ path }) => {
      const name = path.replace(/\/$/, '')
      const entry = announced.get(name)
      if (entry === undefined) throw new Error(`the archive holds ${name}, which was not put there`)
      announced.delete(name)
      return entry
    },
  }
}

/** Paths are not told: of an encrypted backup they are in its list of entries alone. */
function digestOf(places: readonly FileSystemPlace[]): string {
  const lines = places.map(({ path, device, mount, born }) => JSON.stringify([path, device, mount, born]))
  return createHash('sha256').update(lines.join('\n')).digest('hex')
}

function plainEntry(found: Found, stats: FoundStats, { userOf, groupOf }: Accounts): Omit<TreeEntry, 'base' | 'facts'> {
  const { path, type, link, device } = found
  const { mode, uid, gid } = stats
  return {
    path,
    type,
    mode,
    uid,
    gid,
    owner: userOf(uid),
    group: groupOf(gid),
    mtime: secondsOf(stats.mtime),
    size: type === 'file' ? stats.size : 0,
    link,
    ...(device === undefined ? {} : { device }),
    sparse: type === 'file' && stats.sparse,
  }
}

/** The rules that a backup was made by, for a restore in place and for whoever reads it. */
function ruleFacts(rules: WalkRules): Record<string, unknown> {
  const { exclude, include, oneFileSystem, excludeCaches, excludeIfPresent = [] } = rules
  return {
    exclude: [...exclude],
    include: [...include],
    ...(oneFileSystem === true ? { one_file_system: true } : {}),
    ...(excludeCaches === true ? { exclude_caches: true } : {}),
    ...(excludeIfPresent.length > 0 ? { exclude_if_present: [...excludeIfPresent] } : {}),
  }
}

function outcomeOf(
  { paths, sqlite, ...rules }: FilesSettings,
  { begunAt, remarks, roots, places, databases }: Capturing,
): TreeOutcome {
  databases.tell()
  const missing = leftOutOf(remarks.missing)
  if (!hasAttributes())
    remarks.note('extended attributes and ACLs are not kept: this machine has no means to read them')
  return {
    capturedAt: begunAt,
    facts: {
      roots: paths.map((path, at) => ({ path, kind: roots[at]?.stats.isFile() === true ? 'file' : 'directory' })),
      ...ruleFacts(rules),
      ...(sqlite === true ? { sqlite: true } : {}),
      keeps: ['all-names', ...(hasAttributes() ? ['attributes'] : [])],
      mounts: digestOf(places),
      ...(remarks.reread ? { reread: true } : {}),
      ...(missing === null ? {} : { left_out: missing }),
    },
    checks: [],
    warnings: remarks.warnings(),
    incomplete: remarks.incomplete,
  }
}
