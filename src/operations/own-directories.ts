import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { RepositorySettings } from '../config/settings.js'
import type { Context } from '../context.js'
import { repositoryFile } from '../repository/layout.js'
import type { OwnDirectories } from '../sources/files/own-directories.js'
import { fsPath } from '../system/file-names.js'

/** Bytes that nexus-backup.json may have. */
const DESCRIPTION_BYTES = 64 * 1024

const REPOSITORY = 'a backup repository'
const STATE = 'the state directory'

/**
 * Recognizes what is this program's own: the state directory, the repositories that a source is backed up to, by device
 * and inode, so that neither a link nor a bind mount hides one; and whatever describes itself as a repository.
 */
export function ownDirectories(
  { stateDirectory }: Pick<Context, 'stateDirectory'>,
  source: { repository: RepositorySettings; copies: readonly { repository: RepositorySettings }[] },
): OwnDirectories {
  const known = new Map<string, string>()
  const add = (path: string, what: string) => {
    const identity = identityAt(path)
    if (identity !== null) known.set(identity, what)
  }
  for (const { path, s3 } of [source.repository, ...source.copies.map(copy => copy.repository)]) {
    if (s3 === undefined) add(resolve(path), REPOSITORY)
  }
  add(stateDirectory, STATE)
  return {
    recognize({ stats, entries }, location) {
      const named = known.get(identityOf(stats))
      if (named !== undefined) return named
      return entries.some(({ name }) => name === repositoryFile) && isRepository(location) ? REPOSITORY : null
    },
    around(location) {
      for (let path = location; ; path = dirname(path)) {
        const named = known.get(identityAt(path) ?? '')
        if (named !== undefined) return { path, what: named }
        if (isRepository(path)) return { path, what: REPOSITORY }
        if (path === dirname(path)) return null
      }
    },
  }
}

/** Null for what is not there, or closed to us: whoever needs it will say so. */
function identityAt(path: string): string | null {
  try {
    return identityOf(statSync(fsPath(path), { bigint: true }))
  } catch {
    return null
  }
}

function identityOf({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`
}

/** A directory that describes itself as a repository, whoever configured it. */
function isRepository(directory: string): boolean {
  const bytes = smallFile(`${directory === '/' ? '' : directory}/${repositoryFile}`)
  return bytes !== null && isDescription(bytes)
}

/** What cannot be read is told where its directory is listed. */
function smallFile(path: string): Buffer | null {
  let fd: number | undefined
  try {
    fd = openSync(fsPath(path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const stats = fstatSync(fd)
    if (!stats.isFile() || stats.size > DESCRIPTION_BYTES) return null
    const bytes = Buffer.alloc(stats.size)
    return bytes.subarray(0, readSync(fd, bytes))
  } catch {
    return null
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

/** Whether this describes a repository, of whatever format: a file of another program may have the same name. */
function isDescription(bytes: Buffer): boolean {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'))
    if (typeof value !== 'object' || value === null) return false
    const { format, id } = value as { format?: unknown; id?: unknown }
    return typeof format === 'number' && typeof id === 'string' && /^[0-9a-f]{8}-[0-9a-f-]{27}$/i.test(id)
  } catch {
    return false
  }
}
