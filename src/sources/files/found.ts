import type { BigIntStats } from 'node:fs'
import type { Device, TreeEntry } from '../../image/tree/types.js'

/** What lstat(2) says of a directory entry, as far as a backup wants it. */
export interface FoundStats {
  /** Permission bits with set-user-id, set-group-id and sticky. */
  mode: number
  uid: number
  gid: number
  /** Bytes; 0 for all but files. */
  size: number
  nlink: number
  /** Device and inode, which together name a file until it is deleted. */
  inode: string
  /** Nanoseconds since 1970. */
  mtime: bigint
  ctime: bigint
  /** 0 or the time of the last change where the file system does not know. */
  born: bigint
  /** Fewer blocks than its size needs. */
  sparse: boolean
}

/** An entry that the walk found and that belongs into the backup. */
export interface Found extends FoundStats {
  /** Name in the archive: the absolute path as configured, without the leading slash. */
  path: string
  /** Where it really lies: the root without symbolic links, and the way down from it. */
  location: string
  type: TreeEntry['type']
  /** Target of a symbolic link; `path` of what a hard link is another name of; otherwise empty. */
  link: string
  /** Of a device. */
  device?: Device
  /** Of a directory: why what it holds is left out. */
  leftOut?: 'mount' | 'cache' | 'marker'
  /** Number of the parent's file that it continues, once that is known. */
  base?: number | null
}

/** Bytes that one block of `stat.blocks` stands for, whatever the file system's own blocks are (stat(2)). */
const STAT_BLOCK = 512n

export function foundStats(stats: BigIntStats): FoundStats {
  const file = stats.isFile()
  return {
    mode: Number(stats.mode & 0o7777n),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    size: file ? Number(stats.size) : 0,
    nlink: Number(stats.nlink),
    inode: `${stats.dev}:${stats.ino}`,
    mtime: bounded(stats.mtimeNs),
    ctime: stats.ctimeNs,
    born: stats.birthtimeNs,
    sparse: file && stats.blocks * STAT_BLOCK < stats.size,
  }
}

/** Nanoseconds: a list of entries keeps no time farther from 1970 than that. Some file systems do. */
const MOST_TIME = 1_000_000_000_000n * 1_000_000_000n

function bounded(time: bigint): bigint {
  return time > MOST_TIME ? MOST_TIME : time < -MOST_TIME ? -MOST_TIME : time
}

/** Whether a time may be farther away than what is kept of it. */
export function isBounded(time: bigint): boolean {
  return time === MOST_TIME || time === -MOST_TIME
}

/** What a backup holds it as; null for a socket, which its server makes anew. */
export function typeOf(stats: BigIntStats): Exclude<TreeEntry['type'], 'hardlink'> | null {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'directory'
  if (stats.isSymbolicLink()) return 'symlink'
  if (stats.isFIFO()) return 'fifo'
  if (stats.isCharacterDevice()) return 'character-device'
  return stats.isBlockDevice() ? 'block-device' : null
}

/** The numbers of a device as Linux packs them: 12 bits of major and 8 of minor, and the rest above them (makedev(3)). */
export function deviceNumbers({ rdev }: { rdev: bigint }): Device {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n)
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n)
  return { major: Number(major), minor: Number(minor) }
}

/** The device's number. */
export function deviceOf(inode: string): string {
  return inode.slice(0, inode.indexOf(':'))
}

/**
 * Names a file through all that is done to it. An inode's number is given to another file once it is free, with a later
 * birth; where the file system knows no births, a file that is changed counts as another one.
 */
export function fileIdentityOf({ inode, born, ctime }: Pick<FoundStats, 'inode' | 'born' | 'ctime'>): string {
  return `${inode}:${born === 0n ? ctime : born}`
}
