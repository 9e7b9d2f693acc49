import {
  accessSync,
  closeSync,
  constants,
  fchownSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  type Stats,
  statSync,
} from 'node:fs'
import { basename, dirname } from 'node:path'
import Database from 'better-sqlite3'
import { errnoOf } from '../errors.js'
import { exchanged, sameFile, whileHeld } from '../system/held-directory.js'
import { givesFilesAway } from '../system/ownership.js'
import { assertOwnSidecars } from '../system/sidecars.js'
import { isOursAlone, trustedPath } from '../system/trusted-path.js'
import { unusable } from './faults.js'

/** `NXBK`: marks the file as ours (SQLite file format, 1.3.18). */
const applicationId = 0x4e58424b
const schemaVersion = 1
/** Appends take milliseconds; whoever waits this long waits for a process that hangs. */
const busyTimeoutMs = 30_000

const schema = `
  CREATE TABLE journal (
    previous TEXT NOT NULL, sequence INTEGER PRIMARY KEY, event TEXT NOT NULL, begun INTEGER NOT NULL, at TEXT NOT NULL,
    operation TEXT, source TEXT, repository TEXT, backup TEXT, user TEXT NOT NULL, sudo_user TEXT, host TEXT NOT NULL,
    pid INTEGER NOT NULL, process_start TEXT, result TEXT, error TEXT, hash TEXT NOT NULL
  ) STRICT;
  PRAGMA application_id = ${applicationId};
  PRAGMA user_version = ${schemaVersion};
`

export interface Owner {
  uid: number
  gid: number
}

/** Whom new files in a directory belong to when root makes them: the directory's owner (design section 5). */
export function ownerForNewFiles(directory: string): Owner | undefined {
  return process.geteuid?.() === 0 ? statSync(directory) : undefined
}

/** Whether the catalog exists. Anything but a plain file in its place is refused. */
export function catalogExists(file: string): boolean {
  const found = lstatSync(file, { throwIfNoEntry: false })
  if (found === undefined) return false
  if (!found.isFile()) throw unusable('refused', 'journal_foreign', file, 'it is not a plain file')
  return true
}

/** Makes the state directory (0700) and an empty catalog (0600) where they are missing. */
export function createCatalog(file: string, ownerOf: (directory: string) => Owner | undefined): void {
  const directory = dirname(file)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  if (catalogExists(file)) return
  const owner = ownerOf(directory)
  try {
    const descriptor = whileHeld(trustedPath(directory), held => openSync(held.at(basename(file)), 'wx', 0o600))
    if (owner) fchownSync(descriptor, owner.uid, owner.gid)
    closeSync(descriptor)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
  }
  syncDirectory(directory)
}

/**
 * Opens an existing catalog, writable where permissions allow it, and makes its table when it is empty.
 *
 * The journal mode stays SQLite's default, DELETE: rows are few and small, there is no shared memory that another
 * user's process would have to be able to write, and nothing lies beside the file afterwards. EXTRA also makes the
 * end of a transaction durable (SQLite pragma.html, synchronous), for a link that a manifest already names must not
 * be rolled back by a power failure.
 * @throws NexusError damage or refused for a file that is not our catalog, `refused` (`directory_exchanged`,
 *   `sidecar_linked`) where another user leads it elsewhere; SQLite's errors as they are
 */
export function openCatalog(file: string): Database.Database {
  const expected = expectedFile(file)
  const database = new Database(file, { fileMustExist: true, timeout: busyTimeoutMs, readonly: !isWritable(file) })
  try {
    if (expected !== null && !hasOpen(expected)) throw exchanged(file)
    database.pragma('synchronous = EXTRA')
    database.pragma('trusted_schema = OFF')
    if (isEmpty(database) && !database.readonly) initialise(database)
    if (!isEmpty(database)) recognise(database, file)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

/** True for a catalog that has no table yet, which a killed first run leaves. */
export function isEmpty(database: Database.Database): boolean {
  return database.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() === 0
}

function initialise(database: Database.Database): void {
  const create = database.transaction(() => {
    if (isEmpty(database)) database.exec(schema)
  })
  create.immediate()
}

function recognise(database: Database.Database, file: string): void {
  if (database.pragma('application_id', { simple: true }) !== applicationId) {
    throw unusable('refused', 'journal_foreign', file, 'it is a database of another program')
  }
  const version = database.pragma('user_version', { simple: true })
  if (version !== schemaVersion) {
    throw unusable(
      'refused',
      'journal_version',
      file,
      `it is of version ${version}, and this program knows ${schemaVersion}`,
    )
  }
  const tables = database.prepare("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'journal'")
  if (tables.pluck().get() !== 1) throw unusable('damage', 'journal_damaged', file, 'its table is gone')
}

/** For root in another user's directory: what lies there, which SQLite must open and not what a link leads to. */
function expectedFile(file: string): Stats | null {
  const directory = trustedPath(dirname(file))
  if (!givesFilesAway() || isOursAlone(directory)) return null
  assertOwnSidecars(file)
  const found = lstatSync(file)
  if (!found.isFile() || found.nlink > 1) {
    throw unusable('refused', 'journal_foreign', file, 'it has other names, or is no plain file')
  }
  return found
}

/** Whether this process has a file open. */
function hasOpen(file: Stats): boolean {
  const open = '/proc/self/fd'
  return readdirSync(open).some(fd => sameFile(file, statSync(`${open}/${fd}`, { throwIfNoEntry: false })))
}

function isWritable(file: string): boolean {
  try {
    accessSync(file, constants.W_OK)
    accessSync(dirname(file), constants.W_OK)
    return true
  } catch {
    return false
  }
}

function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
