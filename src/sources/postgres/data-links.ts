import { lstatSync, realpathSync, statSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { messageOf, NexusError } from '../../errors.js'
import { tarHeader } from './tar-header.js'
import { paddingOf } from './tar-scan.js'

/** Parameters that name files of a server, relative to its data directory, which it needs to start. */
export const fileSettings = [
  'ssl_cert_file',
  'ssl_key_file',
  'ssl_ca_file',
  'ssl_crl_file',
  'ssl_dh_params_file',
  'krb_server_keyfile',
] as const

/** Keys and certificates have a few kilobytes. */
const MAX_FILE_BYTES = 1024 * 1024
const skipped = /skipping special file "(?:\.\/)?([^"]*)"/
/** Of a tablespace the server says that it left it out altogether (PostgreSQL xlog.c, do_pg_backup_start). */
const lostTablespace = /could not read symbolic link|symbolic link "[^"]*" target is too long/

/**
 * What may be a link, or another special file, in a data directory: `pg_wal` and the entries of `pg_tblspc` always, which the
 * server follows itself. It passes over every other one with a warning, whatever lies behind it.
 */
const decisions: readonly { what: RegExp; so: 'ignored' | 'lost' }[] = [
  // A server’s socket, where unix_socket_directories names the data directory.
  { what: /^\.s\.PGSQL\./, so: 'ignored' },
  // Content: the copy is useless without it, or silently lacks databases, tables, commits.
  {
    what: /^(?:base|global|pg_(?:xact|multixact|commit_ts|twophase|logical|tblspc|wal)|PG_VERSION)(?:\/|$)/,
    so: 'lost',
  },
  // Of a tablespace, which the server names by its own path.
  { what: /(?:^|\/)PG_\d+_\d+(?:\/|$)/, so: 'lost' },
]

/** What a base backup lacks, judged by the server’s warnings. */
export interface Lacks {
  /** Warnings that mean lost data. */
  lost: string[]
  /** What is to be said: logs, configuration, things that are not PostgreSQL’s. */
  said: string[]
}

/**
 * @param expected names in the data directory, of files that come with the backup all the same, and of directories whose
 *   content is left out
 */
export function lacksOf(warnings: readonly string[], expected: ReadonlySet<string>): Lacks {
  const lacks: Lacks = { lost: [], said: [] }
  for (const warning of warnings) {
    const [, name] = skipped.exec(warning) ?? []
    const decision = name === undefined ? undefined : decisions.find(({ what }) => what.test(name))
    if (decision?.so === 'lost' || lostTablespace.test(warning)) lacks.lost.push(warning)
    else if (decision?.so !== 'ignored' && !isExpected(name ?? '', expected)) lacks.said.push(warning)
  }
  return lacks
}

function isExpected(name: string, expected: ReadonlySet<string>): boolean {
  return [...expected].some(one => name === one || name.startsWith(`${one}/`))
}

/** @throws NexusError `data_left_out` when the server left out data */
export function assertWhole(lost: readonly string[]): void {
  const [first] = lost
  if (first === undefined) return
  const name = skipped.exec(first)?.[1] ?? first
  const more = lost.length > 1 ? ` (and ${lost.length - 1} more)` : ''
  const message = `the server leaves data out of its base backup: it does not follow the link ${name}${more}`
  throw new NexusError('refused', 'data_left_out', message, {
    hint: 'a backup without it is none: put the data back in the link’s place, use a bind mount there, or move the database to a tablespace (ALTER DATABASE … SET TABLESPACE); only pg_wal and pg_tblspc/* may be links',
  })
}

/** What stands before a server's warning where a backup keeps it. */
export const SERVER_WARNS = 'the server warns: '

/** Data that a backup lacks by its own warnings: releases before this one kept such a backup as a good one. */
export function lostFrom(backup: { kind: string; warnings: readonly string[] }): string[] {
  if (backup.kind !== 'postgres') return []
  return lacksOf(
    backup.warnings.filter(warning => warning.startsWith(SERVER_WARNS)),
    new Set(),
  ).lost.map(warning => warning.slice(SERVER_WARNS.length))
}

/** A file of the data directory that is a link there, as it goes into the backup: an ordinary file with what it points at. */
export interface FollowedFile {
  name: string
  content: Buffer
  /** Seconds since 1970. */
  mtime: number
}

/** What is followed of a data directory. */
interface Followed {
  settings: Readonly<Record<string, string>>
  configuration: readonly string[]
  /** Reads a file of so many bytes at most, as the server's user may: a link can lead to what is root's alone. */
  read(path: string, most: number): Promise<Buffer>
}

/** What stands in the backup instead of links. */
export interface FollowedLinks {
  files: FollowedFile[]
  /** Those that are links, and what lies between one and a file, from above. */
  directories: string[]
  warnings: string[]
}

/**
 * Reads the files behind links in a data directory that a server needs to start: its key, its certificates, its
 * configuration. Without them a server on a restored copy does not start.
 *
 * @param followed.settings values of `fileSettings`
 * @param followed.configuration absolute paths of the server's configuration files, those outside the data directory too
 */
export async function followLinks(
  dataDirectory: string,
  { settings, configuration, read }: Followed,
): Promise<FollowedLinks> {
  const found: FollowedLinks = { files: [], directories: [], warnings: [] }
  const named = fileSettings.flatMap(setting => (settings[setting] ? [settings[setting]] : []))
  for (const path of new Set([...named, ...configuration].map(value => resolve(dataDirectory, value)))) {
    const name = relative(dataDirectory, path)
    // A path that leads out of the data directory is no link in it.
    const link = name.startsWith('..') ? undefined : firstLink(dataDirectory, name)
    if (link === undefined) continue
    try {
      const content = await read(path, MAX_FILE_BYTES)
      found.files.push({ name, content, mtime: Math.floor(statSync(path).mtimeMs / 1000) })
      if (link !== name) found.directories.push(...below(link, name))
    } catch (error) {
      found.warnings.push(`${name} is a link in the data directory and not in the backup: ${messageOf(error)}`)
    }
  }
  return { ...found, directories: [...new Set(found.directories)] }
}

/** The first part of a path in the data directory that is a link. */
function firstLink(dataDirectory: string, name: string): string | undefined {
  const parts = name.split('/')
  const paths = parts.map((_, at) => parts.slice(0, at + 1).join('/'))
  return paths.find(path => isLink(join(dataDirectory, path)))
}

/** The directories from a link to one down to a file: `conf.d` of `conf.d/a.conf`. */
function below(link: string, name: string): string[] {
  const parts = name.split('/').slice(0, -1)
  return parts.map((_, at) => parts.slice(0, at + 1).join('/')).filter(path => path.length >= link.length)
}

/** Where `pg_wal` really lies, when it is a link; null when it is none or nobody here can see it. */
export function walDirectoryOf(dataDirectory: string): string | null {
  const path = join(dataDirectory, 'pg_wal')
  try {
    return isLink(path) ? realpathSync(path) : null
  } catch {
    return null
  }
}

/** Members of a tar archive, closed to everybody but the server’s user: among them are keys. */
export function* followedMembers(
  { files, directories }: Pick<FollowedLinks, 'files' | 'directories'>,
  { uid, gid }: { uid: number; gid: number },
): Generator<Buffer> {
  for (const name of directories) {
    yield tarHeader({ name, type: '5', mode: 0o700, uid, gid, mtime: files[0]?.mtime ?? 0, size: 0 })
  }
  for (const { name, content, mtime } of files) {
    yield tarHeader({ name, type: '0', mode: 0o600, uid, gid, mtime, size: content.length })
    yield content
    yield Buffer.alloc(paddingOf(content.length))
  }
}

/** False also where nobody here may look: the server’s own warnings tell then. */
function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink()
  } catch {
    return false
  }
}
