import { dirname } from 'node:path'
import * as v from 'valibot'
import { createRecordOf, readRecordOf, removeRecord, replaceRecordOf } from '../../sources/crash-record.js'
import { directoryBeside } from '../../system/staging.js'
import { isHomeOf } from './merge-home.js'

const path = v.pipe(v.string(), v.maxLength(4096))
/** Never leads out of what it is relative to. */
const relative = v.pipe(
  v.string(),
  v.check(value => !value.split('/').some(name => name === '..' || name === '.')),
)
const recordSchema = v.object({
  format: v.literal(1),
  kind: v.literal('trees'),
  pid: v.number(),
  started: v.string(),
  /** The target beside which the record lies. */
  home: path,
  /** All that change places together. */
  moves: v.pipe(
    v.array(v.object({ staged: path, target: path, previous: path, replaces: v.boolean() })),
    v.minLength(1),
    v.maxLength(10_000),
  ),
  /** What of what is set aside goes back to where it lay, once the moves are made: see `KeptEntry`. */
  kept: v.optional(v.array(v.object({ target: path, previous: path, name: path }))),
  /** Whether what is staged is the restore's own, to be removed when nothing comes of it. */
  disposable: v.boolean(),
  /** Further scratch directories of the restore's own. */
  scratch: v.array(path),
  /** A systemd unit that was stopped for it. */
  service: v.nullable(v.string()),
  /** A merge: what is staged moves into a directory entry by entry. Earlier releases stay in phase `staging` meanwhile. */
  merge: v.optional(v.boolean()),
  /** Of a merge: the directory. */
  into: v.optional(path),
  /** Of a merge: what it overwrites. */
  rule: v.optional(v.picklist(['always', 'if-changed', 'if-newer', 'never'])),
  /** Of a merge: what is staged is what an earlier one replaced, and what that added is removed. */
  undoes: v.optional(v.boolean()),
  /**
   * Of a merge: the directory, relative to the one around `home`, in which names with this mark may lie, see `HiddenNames`.
   */
  hidden: v.optional(v.object({ directory: relative, mark: v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/)) })),
  /** `staging`: nothing has moved. `forward`: everything is proven, and going to its place. `back`: it is being undone. */
  phase: v.picklist(['staging', 'forward', 'back']),
})

/** What a restore of directories leaves beside the first of them until it is done. */
export type TreeRecord = v.InferOutput<typeof recordSchema>

/** @throws NexusError `locked` */
export function createTreeRecord(record: TreeRecord): void {
  createRecordOf(record.home, record)
}

export function replaceTreeRecord(record: TreeRecord): void {
  replaceRecordOf(record.home, record)
}

export function removeTreeRecord(record: TreeRecord): void {
  removeRecord(record.home)
}

/** The record beside a target, or null. @throws NexusError `damage` when it is not a record */
export function readTreeRecord(target: string): TreeRecord | null {
  return readRecordOf(target, value => {
    const result = v.safeParse(recordSchema, value)
    return result.success && result.output.home === target && staysBeside(result.output) ? result.output : null
  })
}

/** Nothing outside the targets' own directories is renamed or removed on the word of a file. */
function staysBeside({ home, moves, kept = [], scratch, into }: TreeRecord): boolean {
  const directories = [home, ...moves.map(({ target }) => target)].map(name => dirname(name))
  const beside = moves.every(({ staged, previous, target }) =>
    [staged, previous].every(name => directoryBeside(name) === dirname(target)),
  )
  const ofMoves = kept.every(entry =>
    moves.some(({ target, previous }) => target === entry.target && previous === entry.previous),
  )
  const isHome = into === undefined || isHomeOf(home, into)
  return isHome && beside && ofMoves && scratch.every(name => directories.includes(directoryBeside(name)))
}
