import type { TreePaths } from '../../image/tree/tree.js'
import type { CarriedFile, TreeEntry, TreeInput } from '../../image/tree/types.js'
import type { TreeCapture, TreeOutcome } from '../tree-capture.js'
import { type Accounts, readAccounts } from './accounts.js'
import { archive } from './archive.js'
import { emptiedRoots } from './emptied-roots.js'
import { factsOf } from './entry-facts.js'
import type { Found, FoundStats } from './found.js'
import { FoundStore } from './found-store.js'
import { continuedFiles, nothingContinued, placesOf } from './known-files.js'
import { newRemarks, type Remarks } from './remarks.js'
import { findRoots, type Root } from './roots.js'
import { type WalkRules, walk } from './walk.js'

/** Bytes: attachments change as a whole and logs at their end (design section 2). */
const BLOCK_BYTES = 128 * 1024

/** Directories and single files to be captured. */
export interface FilesSettings extends WalkRules {
  name: string
  /** Absolute, none inside another. */
  paths: readonly string[]
}

interface Surroundings {
  now(): Date
  signal: AbortSignal
}

/**
 * Captures directories and files as they are found, without a snapshot: each file is as it was at one instant between
 * `begunAt` and the end, and one that was changed while it was read is told. Roots that are symbolic links are followed,
 * others are kept as links; file systems mounted below a root belong to it.
 *
 * @throws NexusError `not-found` (`source_missing`), `refused` (`source_special`), `configuration` (`pattern_invalid`)
 */
export async function captureFiles(settings: FilesSettings, { now, signal }: Surroundings): Promise<TreeCapture> {
  const begunAt = now()
  const remarks = newRemarks()
  const roots = findRoots(settings)
  const found = new FoundStore()
  await walk(roots, settings, { remarks, signal }, one => found.add(one))
  const capturing: Capturing = { begunAt, remarks, found, roots, accounts: readAccounts(), signal }
  return {
    begunAt,
    name: settings.name,
    versions: {},
    open: async before => inputOf(capturing, before),
    finish: async () => outcomeOf(settings, capturing),
    close: async () => {},
  }
}

interface Capturing {
  begunAt: Date
  remarks: Remarks
  found: FoundStore
  roots: readonly Root[]
  accounts: Accounts
  signal: AbortSignal
}

function inputOf(capturing: Capturing, before: TreePaths | null): TreeInput {
  const { found, remarks, signal, accounts, begunAt } = capturing
  if (before !== null) warnOfEmptied(capturing, before)
  const continued = before === null ? nothingContinued : continuedFiles(found, before)
  const entryOf = (entry: Found, stats: FoundStats): TreeEntry => ({
    ...plainEntry(entry, stats, accounts),
    base: entry.base ?? null,
    facts: entry.type === 'file' ? factsOf(stats, begunAt) : {},
  })
  const carried = {
    *[Symbol.iterator](): Generator<CarriedFile, void, void> {
      for (let at = 0; at < found.length; at += 1) {
        const base = continued.baseOf(at)
        if (base === null || !continued.isUnchanged(at)) continue
        const entry = found.at(at)
        yield { entry: { ...entryOf(entry, entry), type: 'file', base } }
      }
    },
  }
  const toRead = function* (): Generator<Found, void, void> {
    for (let at = 0; at < found.length; at += 1) {
      if (!continued.isUnchanged(at)) yield { ...found.at(at), base: continued.baseOf(at) }
    }
  }
  const announced = new Map<string, TreeEntry>()
  const onEntry = (entry: TreeEntry) => {
    announced.set(entry.path, entry)
  }
  return {
    blockSize: BLOCK_BYTES,
    carried,
    tar: archive(toRead(), { remarks, signal, entryOf, onEntry }),
    describe: ({ path }) => {
      const name = path.replace(/\/$/, '')
      const entry = announced.get(name)
      if (entry === undefined) throw new Error(`the archive holds ${name}, which was not put there`)
      announced.delete(name)
      return entry
    },
  }
}

function warnOfEmptied({ roots, found, remarks }: Capturing, before: TreePaths): void {
  for (const { path, location } of emptiedRoots(roots, found, placesOf(before))) {
    remarks.problem(
      `${path} held files at the last backup and is empty now, on another device: findmnt --target ${location}`,
    )
  }
}

function plainEntry(found: Found, stats: FoundStats, { userOf, groupOf }: Accounts): Omit<TreeEntry, 'base' | 'facts'> {
  const { path, type, link } = found
  const { mode, uid, gid } = stats
  return {
    path,
    type,
    mode,
    uid,
    gid,
    owner: userOf(uid),
    group: groupOf(gid),
    mtime: Number(stats.mtime) / 1e9,
    size: type === 'file' ? stats.size : 0,
    link,
    sparse: type === 'file' && stats.sparse,
  }
}

function outcomeOf({ paths, exclude, include }: FilesSettings, { begunAt, remarks, roots }: Capturing): TreeOutcome {
  return {
    capturedAt: begunAt,
    facts: {
      roots: paths.map((path, at) => ({ path, kind: roots[at]?.stats.isFile() === true ? 'file' : 'directory' })),
      exclude: [...exclude],
      include: [...include],
    },
    checks: [],
    warnings: remarks.warnings(),
    incomplete: remarks.incomplete,
  }
}
