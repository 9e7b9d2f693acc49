import { spawn } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { NexusError } from '../../errors.js'
import { removeTree } from '../../system/names.js'
import { onDescriptor } from '../../system/ownership.js'
import type { Programs } from './programs.js'
import { type Account, commandAs } from './run-as.js'
import { causeOfDeath } from './server-log.js'
import { makeServerRoom } from './server-room.js'
import { type ServerPurpose, SOCKET_PORT, serverSettings, settingsArguments, settingsFile } from './server-settings.js'

/** A running server on a restored copy. */
export interface PrivateServer {
  readonly room: string
  readonly log: string
  readonly pid: number
  readonly programs: Programs
  /** As whom it runs; null for as we are. */
  readonly account: Account | null
  /** @throws NexusError `server_died` with what its log says, when it has ended */
  assertAlive(): void
  /** Stops it and waits for its end; with `immediate` without a checkpoint. Safe to repeat. */
  stop(mode?: 'fast' | 'immediate'): Promise<void>
  /** Removes its room and the log in it, once it is stopped. */
  forget(): void
  /** Lets it run on after we have ended; its room stays. */
  leave(): void
}

const FORCE_AFTER_MS = 60_000

/** Starts a server on a data directory: no TCP port, a socket in a directory that only its user and root can enter. */
export async function startServer(
  programs: Programs,
  account: Account | null,
  purpose: Omit<ServerPurpose, 'room' | 'major' | 'inPlaceTablespaces'>,
  env: Record<string, string | undefined>,
): Promise<PrivateServer> {
  const inPlaceTablespaces = hasInPlaceTablespaces(purpose.directory)
  const { room, output, settings } = makeServerRoom(account, (room, own) => {
    const settings = serverSettings({ ...purpose, room, major: programs.major, inPlaceTablespaces })
    own('postgresql.conf', settingsFile(settings))
    own('server.log', '')
    return { room, settings, output: openSync(join(room, 'server.log'), 'a') }
  })
  try {
    return await spawnServer({ programs, account, room, env, output }, settings)
  } catch (error) {
    removeTree(room)
    throw error
  }
}

/** A tablespace of `allow_in_place_tablespaces` is a directory where others are links. */
function hasInPlaceTablespaces(directory: string): boolean {
  const entries = readdirSync(join(directory, 'pg_tblspc'), { withFileTypes: true })
  return entries.some(entry => entry.isDirectory() && /^\d+$/.test(entry.name))
}

async function spawnServer(
  {
    programs,
    account,
    room,
    env,
    output,
  }: Omit<PrivateServer, 'log' | 'pid' | 'assertAlive' | 'stop' | 'forget' | 'leave'> & {
    env: Record<string, string | undefined>
    /** Descriptor of the log. */
    output: number
  },
  settings: readonly (readonly [string, string])[],
): Promise<PrivateServer> {
  const log = join(room, 'server.log')
  const program = join(programs.directory, 'postgres')
  const args = ['-c', `config_file=${join(room, 'postgresql.conf')}`, ...settingsArguments(settings)]
  const command = commandAs(account, program, args, plainEnvironment(env))
  // Not through execa, which ends what it started when we end. In a group of its own: Ctrl-C on the terminal must reach us
  // only, and we stop it in order.
  const { env: environment, uid, gid } = command.options
  const child = spawn(command.file, command.args, {
    env: environment,
    ...(uid === undefined || gid === undefined ? {} : { uid, gid }),
    cwd: '/',
    stdio: ['ignore', output, output],
    detached: true,
  })
  closeSync(output)
  let ended = false
  const end = new Promise<void>(resolve => {
    const finish = () => {
      ended = true
      resolve()
    }
    child.once('exit', finish).once('error', finish)
  })
  const { pid } = child
  if (pid === undefined) {
    throw new NexusError('failed', 'server_not_started', `${command.file} could not be started`)
  }
  const signal = (name: NodeJS.Signals) => {
    if (!ended) child.kill(name)
  }
  return {
    room,
    log,
    pid,
    programs,
    account,
    assertAlive() {
      if (!ended) return
      throw diedOf(causeOfDeath(onDescriptor(log, 0, fd => readFileSync(fd, 'utf8'))), log)
    },
    async stop(mode = 'fast') {
      signal(mode === 'fast' ? 'SIGINT' : 'SIGQUIT')
      await Promise.race([end, sleep(FORCE_AFTER_MS, undefined, { ref: false })])
      if (!ended) signal('SIGQUIT')
      await end
    },
    forget: () => removeTree(room),
    leave: () => child.unref(),
  }
}

/** What our own restore_command called damage is damage. */
function diedOf(cause: string | null, log: string): NexusError {
  const kind = cause !== null && /nexus-backup: .* is damaged/.test(cause) ? 'damage' : 'failed'
  const message = `the server on the restored copy ended: ${cause ?? 'without a word'}`
  return new NexusError(kind, 'server_died', message, { hint: `its log: ${log}` })
}

/** How a client connects to it: nothing of our environment may lead it elsewhere. */
export function connectionTo({ room }: PrivateServer, database: string, user: string): string {
  const quoted = (value: string) => `'${value.replace(/[\\']/g, '\\$&')}'`
  return `host=${quoted(room)} port=${SOCKET_PORT} dbname=${quoted(database)} user=${quoted(user)}`
}

/** Without libpq's variables: PGHOSTADDR or PGSERVICE would lead a check to the live server. */
export function plainEnvironment(env: Record<string, string | undefined>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('PG')))
}
