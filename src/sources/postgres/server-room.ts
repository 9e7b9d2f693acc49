import { closeSync, mkdtempSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { removeTree } from '../../system/names.js'
import { give, giveDirectory } from '../../system/ownership.js'
import { trustedPath } from '../../system/trusted-path.js'
import type { Account } from './run-as.js'

/** A socket's path may have 107 bytes (unix(7)), and the user's own temporary directory may be long. */
const ROOMS = '/tmp'

/**
 * Makes the directory of a server of ours: its socket, configuration and log, which only its user and root can enter.
 *
 * @param fill writes the files, with `own`, before the directory is its user's, who could then put links in their place
 */
export function makeServerRoom<T>(
  account: Account | null,
  fill: (room: string, own: (name: string, text: string) => void) => T,
): T {
  const room = mkdtempSync(join(trustedPath(ROOMS), 'nexus-backup-'))
  const own = (name: string, text: string) => {
    const fd = openSync(join(room, name), 'wx', 0o600)
    try {
      writeFileSync(fd, text)
      give(fd, account, 0o600)
    } finally {
      closeSync(fd)
    }
  }
  try {
    // Whoever gets into the directory is the server's user or root.
    own('pg_hba.conf', 'local all all trust\n')
    own('pg_ident.conf', '')
    const filled = fill(room, own)
    giveDirectory(room, account, 0o700)
    return filled
  } catch (error) {
    removeTree(room)
    throw error
  }
}
