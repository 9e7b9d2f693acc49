import { closeSync } from 'node:fs'
import { openDatabaseFile } from './preflight.js'
import { isOnReadOnlyMedia } from './read-only-media.js'

/** What can be told of a database without opening it through SQLite. */
export interface SqliteProbe {
  /** Real path of the file. */
  path: string
  device: number
  inode: number
  /** Bytes. */
  page_size: number
  /** Bytes of the file; a log beside it may hold more. */
  size: number
  /** True when a copy must be staged before it can be read beside its writers. */
  staged: boolean
}

/** Looks at a database before anything is done for it. @throws NexusError for whatever create would refuse */
export function probeSqlite(path: string): SqliteProbe {
  const opened = openDatabaseFile(path, process.geteuid?.() ?? 0)
  closeSync(opened.fd)
  const { device, inode, size, header } = opened
  return {
    path: opened.path,
    device,
    inode,
    page_size: header.pageSize,
    size,
    staged: !header.wal || isOnReadOnlyMedia(opened.path),
  }
}
