import { closeSync, constants, openSync } from 'node:fs'
import { join } from 'node:path'
import type { Context } from '../../context.js'
import { errnoOf } from '../../errors.js'
import type { TreePart } from '../../image/tree/part-of-tree.js'
import type { Tree } from '../../image/tree/tree.js'
import { patternOf } from '../../sources/files/choose.js'
import { hasMagic } from '../../sources/sqlite/header.js'
import { shown } from '../../system/file-names.js'
import { byShortPath } from '../../system/long-paths.js'
import { shellQuoted } from '../shell.js'

/** What SQLite keeps beside a database of what is not in it yet, or must be taken back. */
const LOG_SUFFIXES = ['-wal', '-journal']

/** A file, and what may be its log, which the backup has beside it: paths of entries. */
export interface LogLeftOut {
  file: string
  log: string
}

/** The files of a part whose logs are in the backup, not empty, and not in the part. Whether they are databases is not known. */
export function logsLeftOut(whole: Tree, part: TreePart): LogLeftOut[] {
  const left: LogLeftOut[] = []
  for (const { path: file, type } of part.entries()) {
    if (type !== 'file') continue
    for (const suffix of LOG_SUFFIXES) {
      const log = file + suffix
      const number = whole.fileNumber(log)
      if (number === undefined || whole.layout.sizeOf(number) === 0 || part.holds(number)) continue
      left.push({ file, log })
    }
  }
  return left
}

/** Warns of databases that were restored without their logs. @param directory in which they are staged */
export function warnOfLogs(
  context: Context,
  { id, source }: { id: string; source: string },
  left: readonly LogLeftOut[],
  directory: string,
): void {
  const databases = left.filter(({ file }) => mayBeDatabase(join(directory, file)))
  const [first] = databases
  if (first === undefined) return
  const more = databases.length === 1 ? '' : `, and ${databases.length - 1} more so`
  const command = `nexus-backup restore ${id} --include ${shellQuoted(`${patternOf(`/${first.file}`)}*`)} --to DIR`
  context.warn(
    `${source}: the database ${shown(`/${first.file}`)} is restored without its log ${shown(`/${first.log}`)}${more}: it may lack its latest commits or be malformed; to restore both, run: ${command}`,
  )
}

/** One that we cannot read may be one as well; one that was not restored is none. */
function mayBeDatabase(path: string): boolean {
  let fd: number
  try {
    fd = byShortPath(path, at => openSync(at, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK))
  } catch (error) {
    return errnoOf(error) !== 'ENOENT'
  }
  try {
    return hasMagic(fd)
  } finally {
    closeSync(fd)
  }
}
