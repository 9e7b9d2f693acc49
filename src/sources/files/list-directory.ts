import {
  type BigIntStats,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  readdirSync,
  readlinkSync,
} from 'node:fs'
import { errnoOf, reasonOf } from '../../errors.js'
import { fsPath, nameOf, shown } from '../../system/file-names.js'
import { liesAt, openQuietly } from './open-file.js'
import type { Remarks } from './remarks.js'

/** A directory that changes while it is listed is listed again, so often at most. */
const ATTEMPTS = 4

/** A link in the directory's place must not lead astray. */
const FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW | constants.O_NONBLOCK

export interface Listed {
  name: string
  location: string
  stats: BigIntStats
  /** Of a symbolic link: where it leads, in bytes. */
  link?: Buffer
}

/** Real path of what is left out, or of a directory whose content is, and a sentence. */
type Problem = [location: string, message: string]

/** A directory as it was when it was listed. */
export interface Listing {
  stats: BigIntStats
  entries: Listed[]
}

/**
 * The entries of a directory in the order of their names. Names and files belong together: where a log is rotated between
 * the reading of the names and the looking at the files, a file would be missed or taken for another, so it is done again
 * while the directory's own time of change moves. What cannot be looked at is a problem and left out.
 *
 * Everything is looked at through a descriptor of the directory: one that is exchanged meanwhile for a symbolic link leads
 * nowhere else.
 *
 * @returns null when the directory itself cannot be read or is none any more
 */
export function listDirectory(location: string, remarks: Remarks): Listing | null {
  for (let attempt = 1; ; attempt += 1) {
    const problems: Problem[] = []
    const { listing, stable } = listOnce(location, problems)
    if (stable || attempt === ATTEMPTS) {
      for (const problem of problems) remarks.leftOut(...problem)
      return listing
    }
  }
}

function listOnce(location: string, problems: Problem[]): { listing: Listing | null; stable: boolean } {
  let fd: number | undefined
  try {
    fd = openQuietly(location, FLAGS)
    const before = fstatSync(fd, { bigint: true })
    if (!liesAt(fd, location)) return replaced(location, problems)
    const through = throughOf(fd, location)
    const names = readdirSync(through, { encoding: 'buffer' })
    const entries = names.flatMap(name => look({ location, through }, name, problems))
    const stats = fstatSync(fd, { bigint: true })
    entries.sort((a, b) => (a.name < b.name ? -1 : 1))
    return { listing: { stats, entries }, stable: stats.mtimeNs === before.mtimeNs }
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOTDIR' || errno === 'ELOOP') return replaced(location, problems)
    problems.push([location, `${shown(location)} cannot be listed and its content is left out: ${reasonOf(error)}`])
    return { listing: null, stable: errno !== 'ENOENT' }
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

function replaced(location: string, problems: Problem[]): { listing: null; stable: boolean } {
  problems.push([location, `${shown(location)} was replaced while it was listed and is left out`])
  return { listing: null, stable: false }
}

/** A path that leads through an open directory, where the system has such paths. */
function throughOf(fd: number, location: string): string {
  const through = `/proc/self/fd/${fd}`
  return existsSync(through) ? through : location === '/' ? '' : location
}

function look(directory: { location: string; through: string }, bytes: Buffer, problems: Problem[]): Listed[] {
  const name = nameOf(bytes)
  const location = `${directory.location === '/' ? '' : directory.location}/${name}`
  const path = fsPath(`${directory.through}/${name}`)
  try {
    const stats = lstatSync(path, { bigint: true })
    if (!stats.isSymbolicLink()) return [{ name, location, stats }]
    return [{ name, location, stats, link: readlinkSync(path, { encoding: 'buffer' }) }]
  } catch (error) {
    const gone = errnoOf(error) === 'ENOENT'
    problems.push([
      location,
      `${shown(location)} ${gone ? 'vanished before it was read' : `is left out: ${reasonOf(error)}`}`,
    ])
    return []
  }
}
