import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lchownSync,
  mkdirSync,
  openSync,
  readdirSync,
  type Stats,
  statfsSync,
  statSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { errnoOf } from '../errors.js'
import { descriptorPath, exchanged } from './held-directory.js'
import { byShortPath } from './long-paths.js'

/**
 * The one place that changes owners and modes of files, always through a descriptor that was opened without following a
 * link and looked at: a path may lead elsewhere by the time it is used. The linter keeps chown and chmod by path out of
 * every other file.
 */

/** Numeric user and group. */
export interface Owner {
  uid: number
  gid: number
}

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants
/** A descriptor that stands for a file without opening it (open(2)); Node does not name it. */
const O_PATH = 0o10000000

/** The effective user; 0 where the system has no users. */
export function effectiveUser(): number {
  return process.geteuid?.() ?? 0
}

/** Whether files are given to the owner of their directory: only root may, and must. */
export function givesFilesAway(): boolean {
  return effectiveUser() === 0
}

/** Whether only root or this user can have made it. */
export function isOurs({ uid }: Stats): boolean {
  return uid === 0 || uid === effectiveUser()
}

/**
 * Makes a directory and gives it to its owner; false when there is one of that name.
 *
 * @param owner null for this user
 * @throws NexusError `refused` (`directory_exchanged`) when something else took its place in between
 */
export function makeDirectoryFor(path: string, owner: Owner | null): boolean {
  const { ctimeNs } = statSync(dirname(path), { bigint: true })
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false
    throw error
  }
  if (owner === null) return true
  onDescriptor(path, O_DIRECTORY, fd => {
    if (isOwners(fstatSync(fd), owner)) return
    if (!isMadeHere(fd) || !(isEmpty(fd, path) || isYounger(fd, ctimeNs))) throw exchanged(path)
    give(fd, owner, 0o700)
  })
  return true
}

function isOwners({ uid, gid }: Stats, owner: Owner): boolean {
  return uid === owner.uid && gid === owner.gid
}

/** Another run may be quick to make something in it. What lay around before is as old as the last change there at least. */
function isYounger(fd: number, ctimeNs: bigint): boolean {
  return fstatSync(fd, { bigint: true }).birthtimeNs >= ctimeNs
}

function isEmpty(fd: number, path: string): boolean {
  return readdirSync(descriptorPath(fd) ?? path).length === 0
}

/**
 * Gives a file that this user has just made to its owner.
 *
 * @throws NexusError `refused` (`directory_exchanged`) for anything else, and for a file with several names
 */
export function giveNewFile(path: string, owner: Owner): void {
  onDescriptor(path, 0, fd => {
    const found = fstatSync(fd)
    if (isOwners(found, owner)) return
    if (!found.isFile() || !isMadeHere(fd) || found.nlink > 1) throw exchanged(path)
    fchownSync(fd, owner.uid, owner.gid)
  })
}

/**
 * Gives a directory with all that is in it to its owner: for one that no other user can reach meanwhile.
 *
 * @throws NexusError `refused` (`directory_exchanged`) when it is neither this user's nor the owner's already
 */
export function giveDirectory(path: string, owner: Owner | null, mode: number): void {
  onDescriptor(path, O_DIRECTORY, fd => {
    if (!isMadeHere(fd) && fstatSync(fd).uid !== owner?.uid) throw exchanged(path)
    give(fd, owner, mode)
  })
}

/** Sets owner and mode of an open file or directory. The owner first: a change of it takes set-user-id away. */
export function give(fd: number, owner: Owner | null, mode: number): void {
  if (owner !== null) fchownSync(fd, owner.uid, owner.gid)
  fchmodSync(fd, mode)
}

/** What the system answers where this user or the file system cannot have an owner or a mode so. */
const CANNOT: ReadonlySet<string> = new Set(['EPERM', 'EACCES', 'EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'])

/**
 * Sets owner, group and mode of an open file, each as far as this user and the file system can: who is not root can give a
 * file to a group that he is in.
 *
 * @returns what could not be set, in words such as `group 33`
 */
export function giveWhatCan(fd: number, owner: Owner | null, mode: number): string[] {
  const lost: string[] = []
  const attempt = (what: string, work: () => void) => {
    try {
      work()
    } catch (error) {
      if (!CANNOT.has(errnoOf(error) ?? '')) throw error
      lost.push(what)
    }
  }
  const { uid, gid } = fstatSync(fd)
  if (owner !== null && owner.uid !== uid) attempt(`owner ${owner.uid}`, () => fchownSync(fd, owner.uid, gid))
  if (owner !== null && owner.gid !== gid)
    attempt(`group ${owner.gid}`, () => fchownSync(fd, fstatSync(fd).uid, owner.gid))
  attempt(`mode ${mode.toString(8).padStart(4, '0')}`, () => fchmodSync(fd, mode))
  return lost
}

/** Sets the owner of a symbolic link, in a directory that no other user can write to. */
export function giveLink(path: string, owner: Owner): void {
  byShortPath(path, at => lchownSync(at, owner.uid, owner.gid))
}

/**
 * Sets owner and mode of a pipe or device, in a directory that no other user can write to. It is not opened, which would
 * wake whoever waits for that, or move a tape.
 */
export function giveSpecial(path: string, owner: Owner | null, mode: number): void {
  const fd = byShortPath(path, at => openSync(at, O_PATH | O_NOFOLLOW))
  try {
    const held = descriptorPath(fd)
    if (owner !== null) giveLink(path, owner)
    if (held !== undefined) chmodSync(held, mode)
  } finally {
    closeSync(fd)
  }
}

/** Runs `work` on a descriptor of a file or directory, not on what a link of that name leads to. */
export function onDescriptor<T>(path: string, flags: number, work: (fd: number) => T): T {
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | flags)
  try {
    return work(fd)
  } finally {
    closeSync(fd)
  }
}

/** As `onDescriptor`, for work that takes its time. */
export async function onDescriptorAsync<T>(path: string, work: (fd: number) => Promise<T>): Promise<T> {
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    return await work(fd)
  } finally {
    closeSync(fd)
  }
}

/** FAT, exFAT, SMB 1 and 2, NFS, 9p, FUSE and NTFS: what root makes there may belong to whomever the mount or the server says. */
const WITHOUT_OWNERS: ReadonlySet<number> = new Set([
  0x4d44, 0x2011bab0, 0x517b, 0xff534d42, 0xfe534d42, 0x6969, 0x01021997, 0x65735546, 0x5346544e, 0x7366746e,
])

/** Whether this user made an open file, as far as its file system tells. */
function isMadeHere(fd: number): boolean {
  return fstatSync(fd).uid === effectiveUser() || keepsNoOwners(fd)
}

/** Whether owner and mode of an open file are what its mount says, and prove nothing. */
export function keepsNoOwners(fd: number): boolean {
  const path = descriptorPath(fd)
  return path !== undefined && WITHOUT_OWNERS.has(statfsSync(path).type)
}
