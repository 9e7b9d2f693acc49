import { readdirSync, readFileSync, statSync } from 'node:fs'
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
 * it grants an exclusive lock beside idle connections (design section 4). Empty where there is no `/proc`.
 */
export function usersOf(path: string, options: { includeSelf?: boolean } = {}): FileUsers {
  const wanted = new Set(databaseFiles(path).flatMap(identityOf))
  const users: FileUsers = { processes: [], incomplete: false }
  for (const pid of processIds()) {
    if (pid === process.pid && options.includeSelf !== true) continue
    const opened = openIdentities(pid)
    if (opened === 'unseen') users.incomplete = true
    else if (opened.some(identity => wanted.has(identity))) users.processes.push(describe(pid))
  }
  return users
}

/** True when this very process has the database open: reading it raw would drop the locks of that connection. */
export function openInThisProcess(path: string): boolean {
  const wanted = new Set(databaseFiles(path).flatMap(identityOf))
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

function describe(pid: number): FileUser {
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
