import { basename } from 'node:path'
import type { Context } from '../../context.js'
import { type FileUser, usersOf } from '../../sources/sqlite/users.js'
import { waitForRun } from '../waiting.js'

/**
 * Waits for runs of this program that read the database, as long as `--wait` allows: those that began before this
 * restore said that it replaces it. Anybody else's use is not for us to wait for.
 *
 * @throws NexusError `locked` (`database_read`) naming the run
 */
export function waitForBackups(context: Context, source: string, target: string): Promise<void> {
  return waitForRun(context, {
    source,
    code: 'database_read',
    holder() {
      const [reader] = usersOf(target).processes.filter(isOurProgram)
      return reader === undefined ? null : `a backup that reads it (process ${reader.pid}, user ${reader.user})`
    },
  })
}

/** By its command line, which anybody can choose: all that comes of it is that he is waited for instead of refused. */
function isOurProgram({ command }: FileUser): boolean {
  return command.split(' ').some(word => basename(word) === 'nexus-backup')
}
