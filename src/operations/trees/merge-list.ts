import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
  readSync,
  type Stats,
  writeFileSync,
} from 'node:fs'
import { StringDecoder } from 'node:string_decoder'
import * as v from 'valibot'
import type { HeldDirectory } from '../../system/held-directory.js'
import { effectiveUser } from '../../system/ownership.js'

/** Name of the list in the directory that keeps what a merge replaces. No entry of that name is merged at the top. */
export const LIST_NAME = '.nexus-merge'

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants
const CHUNK_BYTES = 1 << 16

const path = v.pipe(
  v.string(),
  v.check(value => !value.split('/').some(name => ['', '.', '..'].includes(name))),
)
const lineSchema = v.union([
  v.object({ continues: v.pipe(v.string(), v.regex(/^[^/]+$/)) }),
  v.object({ path, kind: v.picklist(['file', 'directory', 'other']), size: v.number(), mtime: v.number() }),
  v.object({ left: path }),
  v.object({ ended: v.picklist(['whole', 'part']) }),
])

/** What a merge puts in a place: by kind, size and time it is known again. */
export interface ListedEntry {
  /** Relative to the directory that is merged into. */
  path: string
  kind: 'file' | 'directory' | 'other'
  size: number
  /** Milliseconds. */
  mtime: number
}

/** A list, but for its entries. */
export interface ListSummary {
  /** Name of the directory of an earlier merge that this one went on with. */
  continues: string | null
  /** `part`: it was stopped. Null when it was killed. */
  ended: 'whole' | 'part' | null
  /** When the last line was written, in milliseconds, by the clock of its file system. */
  writtenAt: number
}

/** What stands under a name, as a list has it. */
export function listedAs(entry: string, found: Stats): ListedEntry {
  const kind = found.isFile() ? 'file' : found.isDirectory() ? 'directory' : 'other'
  return { path: entry, kind, size: found.size, mtime: found.mtimeMs }
}

/**
 * Writes down what a merge puts into a directory, before it does: what of it replaced something is known by what is kept
 * beside the list. A line that a crash cut off is passed over.
 */
export class MergeList {
  readonly #fd: number

  /** @param home directory of ours */
  constructor(home: HeldDirectory) {
    this.#fd = openSync(home.at(LIST_NAME), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600)
  }

  continues(name: string): void {
    this.#write([{ continues: name }])
  }

  /** Durable when it returns. */
  expect(entries: readonly ListedEntry[]): void {
    this.#write(entries)
    fdatasyncSync(this.#fd)
  }

  /** An entry that was expected did not get its place. */
  leave(entry: string): void {
    this.#write([{ left: entry }])
  }

  end(ended: 'whole' | 'part'): void {
    this.#write([{ ended }])
    fsyncSync(this.#fd)
    closeSync(this.#fd)
  }

  #write(lines: readonly object[]): void {
    writeFileSync(this.#fd, lines.map(line => `\n${JSON.stringify(line)}`).join(''))
  }
}

/** Whether a directory has a list of this user's. */
export function hasList(home: HeldDirectory): boolean {
  const found = lstatSync(home.at(LIST_NAME), { throwIfNoEntry: false })
  return found?.isFile() === true && found.uid === effectiveUser()
}

/** Reads a list. @param take gets each entry that got its place, or may have got it */
export function readMergeList(home: HeldDirectory, take: (entry: ListedEntry) => void = () => {}): ListSummary {
  const fd = openSync(home.at(LIST_NAME), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const summary: ListSummary = { continues: null, ended: null, writtenAt: fstatSync(fd).mtimeMs }
    const left = new Set<string>()
    eachLine(fd, line => {
      if ('left' in line) left.add(line.left)
      if ('continues' in line) summary.continues = line.continues
      if ('ended' in line) summary.ended = line.ended
    })
    eachLine(fd, line => {
      if ('path' in line && !left.has(line.path)) take(line)
    })
    return summary
  } finally {
    closeSync(fd)
  }
}

function eachLine(fd: number, take: (line: v.InferOutput<typeof lineSchema>) => void): void {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
  const decoder = new StringDecoder('utf8')
  let rest = ''
  let position = 0
  for (let length = -1; length !== 0; position += length) {
    length = readSync(fd, buffer, 0, buffer.length, position)
    const lines = (rest + (length === 0 ? '\n' : decoder.write(buffer.subarray(0, length)))).split('\n')
    rest = lines.pop() ?? ''
    for (const text of lines) {
      const line = v.safeParse(lineSchema, parsed(text))
      if (line.success) take(line.output)
    }
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
