import { closeSync, constants, fstatSync, openSync, realpathSync, statSync } from 'node:fs'
import { errnoOf, NexusError } from '../../errors.js'
import { type DatabaseHeader, readHeader } from './header.js'
import { openInThisProcess, userName } from './users.js'

/** An opened database file that may be read. */
export interface OpenedDatabase {
  /** Real path: symbolic links resolved, so that sidecars are looked for where SQLite keeps them. */
  path: string
  fd: number
  device: number
  inode: number
  /** Bytes of the file now. */
  size: number
  uid: number
  gid: number
  /** Permission bits. */
  mode: number
  header: DatabaseHeader
}

/**
 * Opens a database file for reading after everything that can be refused has been refused. The caller closes `fd`,
 * but only after every SQLite connection of this process to the file (anchors/sqlite.md 2, rule 6).
 *
 * @throws NexusError `source_missing`, `source_is_directory`, `not_a_database`, `source_unreadable`, `not_owner`
 */
export function openDatabaseFile(configured: string, uid: number): OpenedDatabase {
  const path = resolve(configured)
  const status = statSync(path)
  if (status.isDirectory()) throw refusal('source_is_directory', `${configured} is a directory, not a SQLite database`)
  if (!status.isFile()) throw refusal('not_a_database', `${configured} is not a regular file`)
  // Whoever opens a WAL database creates its sidecars; made by another user they lock the application out (design 4).
  if (uid !== 0 && uid !== status.uid) throw notOwner(configured, uid, status.uid)
  if (openInThisProcess(path)) {
    throw new NexusError('refused', 'source_open_here', `this process has ${configured} open itself`, {
      hint: 'reading it from here would drop that connection’s locks: run nexus-backup as a process of its own',
    })
  }
  const fd = open(path, configured)
  try {
    const { dev, ino, size, gid, mode } = fstatSync(fd)
    const header = readHeader(fd, configured)
    return { path, fd, device: dev, inode: ino, size, uid: status.uid, gid, mode: mode & 0o7777, header }
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

function resolve(configured: string): string {
  try {
    return realpathSync(configured)
  } catch (error) {
    throw systemRefusal(configured, error)
  }
}

function open(path: string, configured: string): number {
  try {
    return openSync(path, constants.O_RDONLY)
  } catch (error) {
    throw systemRefusal(configured, error)
  }
}

function systemRefusal(path: string, error: unknown): NexusError {
  switch (errnoOf(error)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new NexusError('not-found', 'source_missing', `there is no database at ${path}`, {
        hint: 'check the path in the configuration or after --sqlite; is the disk mounted?',
        cause: error,
      })
    case 'EACCES':
    case 'EPERM':
      return new NexusError('failed', 'source_unreadable', `no permission to read ${path}`, {
        hint: 'run as root or as the owner of the database',
        cause: error,
      })
    default:
      return new NexusError('failed', 'source_unreadable', `${path} cannot be opened: ${String(error)}`, {
        cause: error,
      })
  }
}

function notOwner(path: string, uid: number, owner: number): NexusError {
  const name = userName(owner)
  const message = `${path} belongs to ${name} and this runs as ${userName(uid)}: SQLite would leave files beside it that lock ${name} out`
  return new NexusError('refused', 'not_owner', message, {
    hint: `run it as root or as the owner: sudo -u ${name} nexus-backup …`,
  })
}

function refusal(code: string, message: string): NexusError {
  return new NexusError('failed', code, message, { hint: 'give the path of the database file itself' })
}
