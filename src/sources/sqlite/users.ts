import { readdirSync, readFileSync, readlinkSync, statfsSync, statSync } from 'node:fs'
import { errnoOf } from '../../errors.js'

/** Characters of a command line that are shown. */
const MAX_COMMAND = 200

/** A process that has a file open. */
export interface FileUser {
  pid: number
  command: string
  user: string
}

export interface FileUsers {
  processes: FileUser[]
  /** True when some processes could not be looked at: they are other users' and we are not root. */
  incomplete: boolean
}

/** The files that belong to a database: itself and what SQLite keeps beside it. */
export function databaseFiles(path: string): string[] {
  return [path, `${path}-wal`, `${path}-shm`, `${path}-journal`]
}

/**
 * Who has the database or one of its sidecars open, by looking at every process's descriptors. SQLite cannot tell:
 * it grants an exclusive lock beside idle connections. Empty where there is no `/proc`.
 */
export function usersOf(path: string, options: { includeSelf?: boolean } = {}): FileUsers {
  for (let attempt = 1; ; attempt += 1) {
    const wanted = identitiesOf(path)
    const users = usersOfFiles(wanted, options)
    // The inode of a log that its last user removed meanwhile may be a stranger's new file.
    const isSettled = users.processes.length === 0 || [...wanted].every(identity => identitiesOf(path).has(identity))
    if (isSettled || attempt === ATTEMPTS) return users
  }
}

/** Times that the files of a database may change while processes are looked at. */
const ATTEMPTS = 3

/** Who has any of these files open; `identitiesOf` names them, so that a file is found after its name has moved. */
export function usersOfFiles(wanted: ReadonlySet<string>, options: { includeSelf?: boolean } = {}): FileUsers {
  const users: FileUsers = { processes: [], incomplete: false }
  const lockers = lockHolders(wanted)
  for (const pid of processIds()) {
    if (pid === process.pid && options.includeSelf !== true) continue
    const opened = openIdentities(pid)
    if (opened === 'unseen') users.incomplete = true
    if (lockers.has(pid) || (opened !== 'unseen' && opened.some(identity => wanted.has(identity)))) {
      users.processes.push(describe(pid))
    }
  }
  return users
}

/** Those of some files, by device and inode, that another process has open, as far as we may see. */
export function heldFiles(wanted: ReadonlySet<string>): Set<string> {
  const held = new Set<string>()
  for (const pid of processIds()) {
    if (pid === process.pid) continue
    const opened = openIdentities(pid)
    if (opened !== 'unseen') for (const identity of opened) if (wanted.has(identity)) held.add(identity)
  }
  return held
}

/** Device and inode of one file, where it exists. */
export function identityAt(path: string): Set<string> {
  return new Set(identityOf(path))
}

/** Device and inode of a database and its sidecars, those that exist. */
export function identitiesOf(path: string): Set<string> {
  return new Set(databaseFiles(path).flatMap(identityOf))
}

/** The first process namespace of a machine, whose members see all the others' (Linux, proc_ns.h). */
const INITIAL_PID_NAMESPACE = 'pid:[4026531836]'

/** File systems that other machines write to as well (statfs(2), linux/magic.h): NFS, CIFS, SMB2, 9p, FUSE, Ceph, AFS, GFS2, OCFS2, Lustre. */
const SHARED_FILE_SYSTEMS = new Set([
  0x6969, 0xff534d42, 0xfe534d42, 0x01021997, 0x65735546, 0x00c36400, 0x5346414f, 0x01161970, 0x7461636f, 0x0bd00bd0,
])

/**
 * Whether every process that could use a file is seen by `usersOf`: by root of the machine itself, not of a container,
 * on a file system that no other machine writes to.
 *
 * @param path an existing file
 */
export function seesEveryUser(path: string): boolean {
  try {
    if (readlinkSync('/proc/self/ns/pid') !== INITIAL_PID_NAMESPACE) return false
    if (SHARED_FILE_SYSTEMS.has(statfsSync(path).type >>> 0)) return false
  } catch {
    return false
  }
  return processIds().every(pid => openIdentities(pid) !== 'unseen')
}

/** Processes with a POSIX lock on one of these files; the kernel tells everybody, whoever the process belongs to. */
export function lockHolders(wanted: ReadonlySet<string>): Set<number> {
  let text: string
  try {
    text = readFileSync('/proc/locks', 'utf8')
  } catch {
    return new Set()
  }
  const holders = new Set<number>()
  for (const line of text.split('\n')) {
    // 1: POSIX  ADVISORY  WRITE 1234 fe:00:5678 0 EOF
    const found = /^\d+: POSIX +\S+ +\S+ +(\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) /.exec(line)
    if (found === null) continue
    const [, pid, major, minor, inode] = found
    const device = deviceNumber(Number.parseInt(major ?? '', 16), Number.parseInt(minor ?? '', 16))
    if (wanted.has(`${device}:${inode}`)) holders.add(Number(pid))
  }
  return holders
}

/** As the C library's makedev composes it, for numbers that a double holds. */
function deviceNumber(major: number, minor: number): number {
  return (minor & 0xff) + (major & 0xfff) * 0x100 + (minor >>> 8) * 0x100000
}

/** True when this very process has the database open: reading it raw would drop the locks of that connection. */
export function openInThisProcess(path: string): boolean {
  const wanted = identitiesOf(path)
  const opened = openIdentities(process.pid)
  return opened !== 'unseen' && opened.some(identity => wanted.has(identity))
}

function processIds(): number[] {
  try {
    return readdirSync('/proc').flatMap(name => (/^\d+$/.test(name) ? [Number(name)] : []))
  } catch {
    return []
  }
}

/** Device and inode of everything a process has open. */
function openIdentities(pid: number): string[] | 'unseen' {
  const directory = `/proc/${pid}/fd`
  try {
    return readdirSync(directory).flatMap(fd => identityOf(`${directory}/${fd}`))
  } catch (error) {
    const code = errnoOf(error)
    if (code === 'EACCES' || code === 'EPERM') return 'unseen'
    return []
  }
}

function identityOf(path: string): string[] {
  try {
    const { dev, ino } = statSync(path)
    return [`${dev}:${ino}`]
  } catch {
    return []
  }
}

/** Processes in words: `gunicorn app (pid 4711, user app)`. */
export function describeUsers(users: readonly FileUser[]): string {
  return users.map(({ command, pid, user }) => `${command} (pid ${pid}, user ${user})`).join(', ')
}

/** A process as messages name it. */
export function describe(pid: number): FileUser {
  return { pid, command: commandOf(pid), user: ownerOf(pid) }
}

function commandOf(pid: number): string {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      .split('\0')
      .filter(word => word !== '')
    const text = words.slice(0, 3).join(' ') || readFileSync(`/proc/${pid}/comm`, 'utf8')
    // Any user chooses what his command line holds: no control characters reach the operator's terminal.
    return text
      .replace(/[\p{C}\s]+/gu, ' ')
      .trim()
      .slice(0, MAX_COMMAND)
  } catch {
    return 'a process'
  }
}

function ownerOf(pid: number): string {
  try {
    return userName(statSync(`/proc/${pid}`).uid)
  } catch {
    return 'unknown'
  }
}

/** Name of a user id, from the system's list of users; the number itself where it has none. */
export function userName(uid: number): string {
  try {
    for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
      const [name, , id] = line.split(':')
      if (name !== undefined && id === String(uid)) return name
    }
  } catch {
    // No such list: the number says enough.
  }
  return `uid ${uid}`
}
