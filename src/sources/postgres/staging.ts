import { chmodSync, chownSync, closeSync, mkdirSync, openSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Account } from './run-as.js'

/** A directory into which a program writes that may run as another user. */
export interface StagingRoom {
  path: string
  /** Descriptor of it, to be handed to the program. */
  fd: number
  remove(): void
}

/** Makes an empty directory below one of ours that only the account may enter. */
export function makeStagingRoom(parent: string, account: Account | null): StagingRoom {
  const path = join(parent, 'pg_basebackup')
  rmSync(path, { recursive: true, force: true })
  mkdirSync(path, { recursive: true })
  chmodSync(path, 0o700)
  if (account !== null) chownSync(path, account.uid, account.gid)
  const fd = openSync(path, 'r')
  let open = true
  return {
    path,
    fd,
    remove() {
      if (open) closeSync(fd)
      open = false
      rmSync(path, { recursive: true, force: true })
    },
  }
}
