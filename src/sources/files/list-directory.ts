import { isUtf8 } from 'node:buffer'
import { type BigIntStats, lstatSync, readdirSync } from 'node:fs'
import { errnoOf, messageOf } from '../../errors.js'
import { type Remarks, shown } from './remarks.js'

/** A directory that changes while it is listed is listed again, so often at most. */
const ATTEMPTS = 4

export interface Listed {
  name: string
  location: string
  stats: BigIntStats
}

/**
 * The entries of a directory in the order of their names. Names and files belong together: where a log is rotated between
 * the reading of the names and the looking at the files, a file would be missed or taken for another, so it is done again
 * while the directory's own time of change moves. What cannot be looked at is a problem and left out.
 *
 * @returns null when the directory itself cannot be read or is none any more
 */
export function listDirectory(location: string, remarks: Remarks): Listed[] | null {
  for (let attempt = 1; ; attempt += 1) {
    const problems: string[] = []
    const listed = listOnce(location, problems)
    if (listed.stable || attempt === ATTEMPTS) {
      for (const problem of problems) remarks.problem(problem)
      return listed.entries
    }
  }
}

function listOnce(location: string, problems: string[]): { entries: Listed[] | null; stable: boolean } {
  try {
    const before = lstatSync(location, { bigint: true })
    const entries = readdirSync(location, { encoding: 'buffer' }).flatMap(name => look(location, name, problems))
    const after = lstatSync(location, { bigint: true })
    // One that was exchanged for a symbolic link meanwhile may have led anywhere.
    if (!after.isDirectory() || after.ino !== before.ino || after.dev !== before.dev) {
      problems.push(`${shown(location)} was replaced while it was listed and is left out`)
      return { entries: null, stable: false }
    }
    entries.sort((a, b) => (a.name < b.name ? -1 : 1))
    return { entries, stable: after.mtimeNs === before.mtimeNs }
  } catch (error) {
    problems.push(`${shown(location)} cannot be listed and its content is left out: ${reason(error)}`)
    return { entries: null, stable: errnoOf(error) !== 'ENOENT' }
  }
}

function look(directory: string, bytes: Buffer, problems: string[]): Listed[] {
  const name = bytes.toString('utf8')
  const location = `${directory === '/' ? '' : directory}/${name}`
  if (!isUtf8(bytes)) {
    problems.push(`${shown(location)} is left out: its name is not UTF-8`)
    return []
  }
  try {
    return [{ name, location, stats: lstatSync(location, { bigint: true }) }]
  } catch (error) {
    const gone = errnoOf(error) === 'ENOENT'
    problems.push(`${shown(location)} ${gone ? 'vanished before it was read' : `is left out: ${reason(error)}`}`)
    return []
  }
}

/** The system's words without the path, which stands in the sentence already. */
export function reason(error: unknown): string {
  return errnoOf(error) === undefined ? messageOf(error) : messageOf(error).replace(/, [a-z]+( '.*)?$/s, '')
}
