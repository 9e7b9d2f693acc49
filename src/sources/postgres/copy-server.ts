import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf } from '../../errors.js'
import type { Programs } from './programs.js'
import { settingNamesIn } from './recovery-settings.js'
import type { Account } from './run-as.js'
import { makeServerRoom } from './server-room.js'
import { type ServerPurpose, serverSettings, settingsFile } from './server-settings.js'

/** Last major version with a directory of its own for statistics: a second server on it removes the first one's. */
const STATS_DIRECTORY_UNTIL = 14

/**
 * What keeps a server apart from the live one whose configuration it may read: Debian's postgresql.conf names the live
 * data directory, pid file and socket directory.
 */
const apart: ReadonlySet<string> = new Set([
  ...['data_directory', 'hba_file', 'ident_file', 'external_pid_file'],
  ...['listen_addresses', 'port', 'unix_socket_directories', 'unix_socket_permissions', 'unix_socket_group'],
  ...['logging_collector', 'log_destination', 'ssl'],
  // It stands in a file that is included, and wins there over the configuration.
  'recovery_target_action',
])

/** What the server of a restored copy is started with, by the operator. */
export interface CopyServer {
  /** Its socket, log and configuration: only its user and root can enter. */
  readonly room: string
  readonly log: string
  /** For the command line. */
  readonly settings: readonly (readonly [string, string])[]
}

/**
 * Makes the room of a server that the operator may start on a restored copy.
 *
 * @param purpose what it is started for
 * @param configuration the one that it is to read: the cluster's; null: one of ours, which archives nothing
 */
export function prepareCopyServer(
  programs: Programs,
  account: Account | null,
  purpose: Omit<ServerPurpose, 'room' | 'major'>,
  configuration: string | null,
): CopyServer {
  const { major } = programs
  return makeServerRoom(account, (room, own) => {
    const all = serverSettings({ ...purpose, room, major })
    own('postgresql.conf', settingsFile(all))
    // postgresql.auto.conf wins over any other file: what it sets too must be said on the command line.
    const overridden = configuration === null ? settingNamesIn(automatic(purpose.directory)) : new Set<string>()
    const stats: [string, string][] = major <= STATS_DIRECTORY_UNTIL ? [['stats_temp_directory', 'pg_stat_tmp']] : []
    return {
      room,
      log: join(room, 'server.log'),
      settings: [
        ['config_file', configuration ?? join(room, 'postgresql.conf')],
        ...all.filter(([name]) => apart.has(name) || overridden.has(name)),
        ...stats,
      ],
    }
  })
}

function automatic(directory: string): string {
  try {
    return readFileSync(join(directory, 'postgresql.auto.conf'), 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return ''
    throw error
  }
}
