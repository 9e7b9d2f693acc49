import { type BigIntStats, readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { errnoOf } from '../../errors.js'
import { parseWalName } from '../../sources/postgres/wal-names.js'

// Notes are read by the shell lines of bin/nexus-backup, which answer a call without starting Node.

/** One call of `pitr archive` or `pitr fetch`, told from others by all that decides what it does. */
export interface WalCall {
  /** First part of the key; the shell makes the same out of its own words and variables. */
  key: string
  /** What must be as it was for a note to count: the configuration, as it was before it was read. */
  files: readonly string[]
}

/** What a process was given besides its command line. */
export interface CallSurroundings {
  /** Without symbolic links. */
  cwd: string
  env: Readonly<Record<string, string | undefined>>
}

const variables = [
  'HOME',
  'XDG_CONFIG_HOME',
  'NEXUS_BACKUP_CONFIG',
  'NEXUS_BACKUP_REPO',
  'NEXUS_BACKUP_STATE',
  'NEXUS_BACKUP_JSON',
]

const title = 'nexus-backup note 1'

/** Where the archiver's notes lie, beside the segments. */
export const spoolName = '.nexus-backup'

/** Ends of the names of what lies in the spool. */
export const archivedSuffix = '.stored'
export const fetchedSuffix = '.fetched'
export const fetchedNoteSuffix = '.fetched.note'

/**
 * The key of a call, the WAL file taken out of it, so that calls alike have the same. Undefined for one that the shell
 * cannot tell: it knows command and operands by what they look like, so no other word may look like one of them, and none
 * may hold `|`.
 *
 * @param words the whole command line
 * @param operands of the command in it
 */
export function keyOf(
  verb: 'archive' | 'fetch',
  { words, operands }: { words: readonly string[]; operands: readonly string[] },
  around: CallSurroundings,
): string | undefined {
  const [taken = '', to] = operands
  const isKnown = parseWalName(basename(taken)) !== undefined && (verb === 'archive') === taken.includes('/')
  if (!isKnown || verbIn(words) !== verb || words.filter(looksLikeWal).join() !== taken) return undefined
  if (verb === 'fetch' && words.filter(isRecovered).join() !== to) return undefined
  const left = verb === 'archive' ? `${dirname(taken)}/%` : '%'
  const parts = [
    verb,
    around.cwd,
    ...variables.map(name => around.env[name] ?? ''),
    ...words.map(word => (word === taken ? left : word)),
  ]
  return parts.some(part => /[|\n\0]/.test(part)) ? undefined : parts.join('|')
}

// What follows is what `asked` in bin/nexus-backup does.

function verbIn(words: readonly string[]): string | undefined {
  const after = words.includes('pitr') ? words.slice(words.indexOf('pitr')) : []
  return ['fetch', 'archive'].find(verb => after.includes(verb))
}

function looksLikeWal(word: string): boolean {
  return /^[0-9A-F]{8}/.test(word.slice(word.lastIndexOf('/') + 1))
}

function isRecovered(word: string): boolean {
  return word.slice(word.lastIndexOf('/') + 1) === 'RECOVERYXLOG'
}

/** What tells a file from what it was, as `stat -c '%i %s %.Y'` prints it; undefined where there is none. */
export function stampOf(path: string): string | undefined {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false })
  return found === undefined ? undefined : stampFrom(found)
}

/** The same of a file that is open. */
export function stampFrom({ ino, size, mtimeNs }: BigIntStats): string {
  const fraction = (mtimeNs % 1_000_000_000n).toString().padStart(9, '0')
  return `${ino} ${size} ${mtimeNs / 1_000_000_000n}.${fraction}`
}

/** Lines that say of files that they are as they are now, or absent. */
export function linesOf(paths: readonly string[]): string[] {
  return paths.map(path => {
    const stamp = stampOf(path)
    return stamp === undefined ? `- ${path}` : `= ${stamp} ${path}`
  })
}

/**
 * Writes a note: a call with this key is answered as long as all lines hold. Notes need not survive a crash. Nothing is
 * written when a line cannot stand in one.
 */
export function writeNote(path: string, key: string, lines: readonly string[]): void {
  if (lines.some(line => line.includes('\n'))) return
  writeFileSync(path, `${[title, key, ...lines].join('\n')}\n`, { mode: 0o600 })
}

/** Whether a note of the archiver's answers calls with this key. */
export function noteHolds(path: string, key: string): boolean {
  try {
    const [first, second, ...lines] = readFileSync(path, 'utf8').split('\n')
    return first === title && second === key && lines.pop() === '' && lines.length > 0 && lines.every(lineHolds)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

function lineHolds(line: string): boolean {
  if (line.startsWith('- ')) return stampOf(line.slice(2)) === undefined
  const [, stamp, path] = /^= (\d+ \d+ [\d.]+) (.+)$/.exec(line) ?? []
  return path !== undefined && stampOf(path) === stamp
}

/** Removes files of the spool, whoever else does the same at this moment. */
export function removeFromSpool(spool: string, names: readonly string[]): void {
  for (const name of names) {
    try {
      unlinkSync(join(spool, name))
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error
    }
  }
}
