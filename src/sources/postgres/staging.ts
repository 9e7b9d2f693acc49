import { closeSync, constants, openSync } from 'node:fs'
import { join } from 'node:path'
import { removeTree } from '../../system/names.js'
import { makeDirectoryFor } from '../../system/ownership.js'
import { trustedPath } from '../../system/trusted-path.js'
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
  const path = join(trustedPath(parent), 'pg_basebackup')
  removeTree(path)
  makeDirectoryFor(path, account)
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  let open = true
  return {
    path,
    fd,
    remove() {
      if (open) closeSync(fd)
      open = false
      removeTree(path)
    },
  }
}
