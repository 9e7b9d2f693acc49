import { randomBytes } from 'node:crypto'
import { parse } from 'node:path'
import { NexusError } from '../errors.js'
import type { BackupType } from './manifest.js'

/** Names of files and directories in a repository of format 1 (design section 5). */
export const repositoryFile = 'nexus-backup.json'
export const checksumsFile = 'SHA256SUMS'
export const manifestFile = 'manifest.json'
export const claimFile = 'source.json'
export const proofsDirectory = 'proofs'
export const locksDirectory = '.locks'
/** Whatever is not finished, or is on its way out, carries this prefix and is never looked into. */
export const partialPrefix = '.partial-'

const idPattern = /^\d{8}T\d{6}\.\d{3}Z-(full|diff|incr)-[0-9a-f]{4}$/
const sourcePattern = /^[a-z0-9][a-z0-9._-]{0,62}$/
const looksLikeId = /^\d{8}t\d{6}/
/** Directories of a source or a repository, and the root's own files. */
const reservedNames: ReadonlySet<string> = new Set([
  'keys',
  'locks',
  'wal',
  'index',
  'proofs',
  'recover',
  'recover.mjs',
  'recover.txt',
  'nexus-backup.json',
  'source.json',
  'manifest.json',
  'sha256sums',
])

/**
 * The id of a backup: the instant it stands for (UTC, milliseconds), its type, and four hexadecimal digits.
 * @param suffix the random digits; drawn here unless handed in
 */
export function makeBackupId(capturedAt: Date, type: BackupType, suffix = randomBytes(2).toString('hex')): string {
  const instant = capturedAt.toISOString().replaceAll('-', '').replaceAll(':', '')
  return `${instant}-${type}-${suffix}`
}

/** Whether a name has the shape of a backup's id. */
export function isBackupId(name: string): boolean {
  return idPattern.test(name)
}

/** The type that an id carries; undefined when it is no id. */
export function typeOfId(id: string): BackupType | undefined {
  return idPattern.exec(id)?.[1] as BackupType | undefined
}

/** Whether a name may be a source's: safe in paths and on command lines, no id, nothing we use ourselves. */
export function isSourceName(name: string): boolean {
  return sourcePattern.test(name) && !looksLikeId.test(name) && !reservedNames.has(name)
}

/** Throws `usage` when a name may not be a source's. */
export function assertSourceName(name: string): void {
  if (isSourceName(name)) return
  throw new NexusError(
    'usage',
    'source_name_invalid',
    `${quoted(name)} cannot be the name of a source: ${flaw(name)}`,
    {
      hint: 'choose another name with --name NAME, for example --name itsm',
    },
  )
}

/** The source name that a file's stem gives (`/opt/itsm_nexus.db` -> `itsm_nexus`). Throws `usage` when it gives none. */
export function sourceNameFromStem(file: string): string {
  const { name } = parse(file)
  assertSourceName(name)
  return name
}

/** A file name that can lie in a backup and be listed in SHA256SUMS as it is. */
export function isPartName(name: string): boolean {
  return (
    name !== '' &&
    !name.startsWith('.') &&
    !name.startsWith('-') &&
    name !== manifestFile &&
    name !== checksumsFile &&
    Buffer.byteLength(name) <= 255 &&
    !/[/\\\p{Cc}\p{Cs}\u2028\u2029]/u.test(name)
  )
}

/** Bytes that a part's name leaves free, for the suffix of a sealed one. */
const RESERVED_BYTES = 4

/** A part's name made from a file's: the same where it can be, otherwise with `_` for what cannot stand in it. */
export function partNameFor(fileName: string, suffix: string): string {
  const safe = fileName.replace(/[/\\\p{Cc}\p{Cs}\u2028\u2029]/gu, '_').replace(/^[.-]/, '_')
  const name = Buffer.byteLength(safe + suffix) <= 255 - RESERVED_BYTES ? safe + suffix : `image${suffix}`
  return isPartName(name) ? name : `image${suffix}`
}

/** Text from outside, quoted for a message: bounded, and with nothing in it that a terminal obeys. */
export function quoted(text: string): string {
  const short = text.length > 120 ? `${text.slice(0, 120)}…` : text
  return JSON.stringify(short).replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

function flaw(name: string): string {
  if (looksLikeId.test(name)) return 'it looks like the id of a backup'
  if (reservedNames.has(name)) return 'the repository uses it itself'
  return 'a name is 1 to 63 characters of a-z, 0-9, ".", "_" and "-", and begins with a letter or digit'
}
