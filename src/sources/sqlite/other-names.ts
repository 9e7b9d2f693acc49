import { closeSync, openSync, readdirSync, readlinkSync, readSync, statSync } from 'node:fs'
import { NexusError } from '../../errors.js'
import { mountsOf } from '../../system/mount-namespaces.js'
import { readRecord } from './restore-record.js'
import { describe, describeUsers, lockHolders } from './users.js'

/** Looks at a process before it is believed to keep its log elsewhere: it may be about to open or to remove it. */
const LOOKS = 3
const BETWEEN_LOOKS_MS = 20

/**
 * By which other names than its path a database file is reachable, in words; empty when there is none. SQLite keeps log
 * and journal beside the name that a program used, so what is committed through another name is not beside this one.
 *
 * @param path real path
 */
export function otherNamesOf(path: string): string[] {
  const { nlink } = statSync(path)
  // A restore gives the file a second name for the moment of its swap.
  const links = nlink > 1 && readRecord(path) === null ? [`it has ${nlink} hard links`] : []
  return [...links, ...mountsByItself(path), ...logsElsewhere(path)]
}

/**
 * Refuses a database that is reachable by other names, or warns where that is allowed.
 *
 * @throws NexusError `refused` (`other_names`)
 */
export function assertOnlyName(
  path: string,
  { allowed, warn }: { allowed: boolean; warn: (message: string) => void },
): void {
  const names = otherNamesOf(path)
  if (names.length === 0) return
  const message = `${path} is not the only name of its file: ${names.join('; ')}`
  if (allowed) {
    warn(`${message}; what is committed by another name and still in its log is not seen here`)
    return
  }
  throw new NexusError(
    'refused',
    'other_names',
    `${message}; a -wal or -journal beside another name would be left out`,
    {
      hint: 'name the path that the application uses, and mount its directory instead of the single file; if nothing uses another name, add --allow-other-names or set allow_other_names: true',
    },
  )
}

/** The file mounted by itself, here or in another mount namespace. */
function mountsByItself(path: string): string[] {
  return mountsOf(path).map(({ point, pid }) => {
    if (pid !== null) return `it is mounted as ${point} for ${describeUsers([describe(pid)])}`
    return point === path ? 'it is a mount point' : `it is also mounted as ${point}`
  })
}

/** Processes that have the file open and a log that is not the one beside its path. */
function logsElsewhere(path: string): string[] {
  const file = identity(path)
  if (file === null) return []
  let suspects = otherLogs(path, file)
  // A log comes and goes with the journal mode and the last connection, also while processes are looked at.
  for (let look = 1; look < LOOKS && suspects.size > 0; look += 1) {
    pauseBetweenLooks()
    const found = otherLogs(path, file)
    suspects = new Map([...suspects].filter(([log]) => found.has(log)))
  }
  return suspects.size > 0 ? [...suspects.values()] : lockedElsewhere(path, file)
}

/** Logs of processes that have the file open, of each one that is not beside its path, with words for it. */
function otherLogs(path: string, file: string): Map<string, string> {
  const logs = new Map<string, string>()
  for (const pid of processIds()) {
    const open = openFiles(pid)
    const log = open
      .filter(({ id }) => id === file)
      .flatMap(
        ({ name }) => open.find(other => other.name === `${name}-wal` && other.id !== identity(`${path}-wal`)) ?? [],
      )
      .at(0)
    if (log === undefined) continue
    logs.set(`${pid} ${log.id}`, `${describeUsers([describe(Number(pid))])} keeps its log at ${log.name}`)
  }
  return logs
}

function pauseBetweenLooks(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BETWEEN_LOOKS_MS)
}

/**
 * Whose descriptors cannot be read still shows its locks: a connection to a database in WAL mode locks the file and the
 * shared index beside the name it used.
 */
function lockedElsewhere(path: string, file: string): string[] {
  if (!isWal(path)) return []
  let suspects: number[] = []
  for (let look = 0; look < LOOKS; look += 1) {
    const index = identity(`${path}-shm`)
    const here = index === null ? new Set<number>() : lockHolders(new Set([index]))
    const found = [...lockHolders(new Set([file]))].filter(pid => pid !== process.pid && !here.has(pid))
    suspects = look === 0 ? found : suspects.filter(pid => found.includes(pid))
    if (suspects.length === 0) return []
    pauseBetweenLooks()
  }
  return suspects.map(pid => `${describeUsers([describe(pid)])} does not use the log beside it`)
}

/** By the write version in the header. Not to be asked while this process has a lock on the database: closing drops it. */
function isWal(path: string): boolean {
  const fd = openSync(path, 'r')
  try {
    const head = Buffer.alloc(20)
    readSync(fd, head, 0, head.length, 0)
    return head[18] === 2
  } finally {
    closeSync(fd)
  }
}

function openFiles(pid: string): { name: string; id: string }[] {
  const directory = `/proc/${pid}/fd`
  try {
    return readdirSync(directory).flatMap(fd => {
      const id = identity(`${directory}/${fd}`)
      return id === null ? [] : [{ id, name: readlinkSync(`${directory}/${fd}`).replace(/ \(deleted\)$/, '') }]
    })
  } catch {
    // Gone, or another user's.
    return []
  }
}

function processIds(): string[] {
  try {
    return readdirSync('/proc').filter(name => /^\d+$/.test(name))
  } catch {
    return []
  }
}

function identity(path: string): string | null {
  try {
    const { dev, ino } = statSync(path)
    return `${dev}:${ino}`
  } catch {
    return null
  }
}
