import { lstatSync } from 'node:fs'
import { dirname } from 'node:path'
import { NexusError } from '../errors.js'
import { givesFilesAway } from './ownership.js'
import { isOursAlone } from './trusted-path.js'

/** What SQLite opens by name beside a database. */
export const SIDECAR_SUFFIXES: readonly string[] = ['-wal', '-shm', '-journal']

/**
 * Refuses a database beside which another user has put a second name of some other file. SQLite opens its sidecars by
 * name, and as root gives them to the owner of the database (os_unix.c, robustFchown) and writes into them. It follows no
 * symbolic link there, but cannot tell a hard link. Called just before SQLite opens a database; where the kernel lets
 * users link to files that are not theirs (fs.protected_hardlinks=0), a link made later than that is not seen.
 *
 * @param path real path of the database
 * @throws NexusError `refused` (`sidecar_linked`)
 */
export function assertOwnSidecars(path: string): void {
  if (!givesFilesAway() || isOursAlone(dirname(path))) return
  for (const suffix of SIDECAR_SUFFIXES) {
    const found = lstatSync(path + suffix, { throwIfNoEntry: false })
    if (found === undefined || (found.isFile() && found.nlink === 1)) continue
    const what = found.isFile() ? 'has other names' : 'is no regular file'
    throw new NexusError(
      'refused',
      'sidecar_linked',
      `${path + suffix} ${what}: SQLite would change what it leads to`,
      {
        hint: `find out who made it: ls -li ${path + suffix}; stop what uses the database, remove it and run this again`,
      },
    )
  }
}
