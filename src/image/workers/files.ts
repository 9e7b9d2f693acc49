import { closeSync, constants, fchmodSync, fchownSync, fsyncSync, ftruncateSync, futimesSync, openSync } from 'node:fs'
import type { CreateTask, Done, SettleTask } from './tasks.js'

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** Makes files; an existing one, a link too, is an error. */
export function createFiles({ files }: CreateTask): Done {
  for (const { path, size } of files) {
    using(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, fd => {
      if (size > 0) ftruncateSync(fd, size)
    })
  }
  return { count: files.length }
}

/** Gives files and directories their attributes and makes them durable, as each item says. */
export function settle({ items }: SettleTask): Done {
  for (const { path, directory, attributes, sync } of items) {
    using(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (directory ? O_DIRECTORY : 0), fd => {
      if (attributes !== null) {
        const { mode, owner, mtime } = attributes
        // The owner first: a change of it takes set-user-id away.
        if (owner !== null) fchownSync(fd, owner.uid, owner.gid)
        fchmodSync(fd, mode)
        futimesSync(fd, mtime, mtime)
      }
      if (sync) fsyncSync(fd)
    })
  }
  return { count: items.length }
}

function using(path: string, flags: number, work: (fd: number) => void): void {
  const fd = openSync(path, flags, 0o600)
  try {
    work(fd)
  } catch (error) {
    if (error instanceof Error) error.message = `${path}: ${error.message}`
    throw error
  } finally {
    closeSync(fd)
  }
}
