import { existsSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import * as v from 'valibot'
import type { PostgresSourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { Manifest } from '../../repository/manifest.js'
import { readControlData } from '../../sources/postgres/control-data.js'
import { prepareCopyServer } from '../../sources/postgres/copy-server.js'
import type { Programs } from '../../sources/postgres/programs.js'
import type { Account } from '../../sources/postgres/run-as.js'
import { SOCKET_PORT } from '../../sources/postgres/server-settings.js'
import { shellQuoted } from '../shell.js'
import type { BaseFacts } from './base-facts.js'
import type { RestoreClusterResult } from './requests.js'
import { serverPrograms } from './run-restored.js'

/** A restored copy whose server was not started. */
export interface UnstartedCopy {
  directory: string
  facts: BaseFacts
  manifest: Pick<Manifest, 'facts'>
  account: Account | null
  source: PostgresSourceSettings | null
  /** It stands still at its target. */
  pauses: boolean
  /** It was shut down at its target, and goes on from there as a server of its own. */
  goesOn?: boolean
  /** It archives as the cluster did, and so needs the cluster's own configuration. */
  keepArchiving: boolean
}

/** After a minute `pg_ctl` gives up, and calls failed what only replays much WAL. */
const PATIENCE_S = 86_400

/**
 * The commands that start the server of a copy, and stop it again. It runs on its own: whatever its configuration says of
 * the live cluster's directory, files, socket and port is overruled. Both null where PostgreSQL is not installed, which is
 * warned of.
 */
export async function nextServer(
  context: Context,
  copy: UnstartedCopy,
): Promise<Pick<RestoreClusterResult, 'next' | 'prepared'>> {
  const { directory, facts, account, source, pauses, goesOn } = copy
  try {
    const programs = await serverPrograms(context, facts, source)
    const control = await readControlData(programs, directory)
    const captured = { ...control.settings, ...facts.settings }
    const own = copy.keepArchiving ? ownConfiguration(copy) : null
    const purpose = { directory, captured, pauses, recoveryAction: goesOn === true ? ('promote' as const) : undefined }
    const { room, log, settings } = prepareCopyServer(programs, account, purpose, own)
    const options = settings.map(([name, value]) => `-c ${shellQuoted(`${name}=${value}`)}`).join(' ')
    const start = [
      `${asOwner(account, context)}${programOf(programs, 'pg_ctl')} start -w -t ${PATIENCE_S}`,
      `-D ${shellQuoted(directory)} -l ${shellQuoted(log)} -o ${shellQuoted(options)}`,
    ]
    const stop = stopCommand(programs, { account, directory, room }, context)
    return { next: start.join(' '), prepared: { socket_directory: room, port: SOCKET_PORT, log, stop } }
  } catch (error) {
    if (!(error instanceof NexusError)) throw error
    const hint = error.hint === undefined ? '' : `; ${error.hint}`
    context.warn(`the command that starts the server cannot be told: ${error.message}${hint}`)
    return { next: null, prepared: null }
  }
}

/** The command that stops the server of a copy and removes its room. */
export function stopCommand(
  programs: Programs,
  { account, directory, room }: { account: Account | null; directory: string; room: string },
  context: Context,
): string {
  const program = programOf(programs, 'pg_ctl')
  return `${asOwner(account, context)}${program} stop -w -D ${shellQuoted(directory)} && rm -r ${room}`
}

/** One of the programs, as a shell takes it. */
export function programOf({ directory }: Programs, name: string): string {
  return shellQuoted(join(directory, name))
}

/** What to put before a command so that the server's user runs it. */
export function asOwner(account: Account | null, { operator }: Context): string {
  if (account === null) return ''
  return `${operator.sudo_user === null ? 'runuser -u' : 'sudo -u'} ${shellQuoted(account.name)} -- `
}

const keptFiles = v.array(v.looseObject({ path: v.string() }))

/** The cluster's own postgresql.conf: the copy's, else the one that the cluster had outside of its directory. */
function ownConfiguration({ directory, manifest }: UnstartedCopy): string | null {
  const inside = join(directory, 'postgresql.conf')
  if (existsSync(inside)) return inside
  const parsed = v.safeParse(keptFiles, manifest.facts?.configuration_files)
  const paths = parsed.success ? parsed.output.map(({ path }) => path) : []
  return paths.find(path => basename(path) === 'postgresql.conf' && isFile(path)) ?? null
}

function isFile(path: string): boolean {
  return path.startsWith('/') && (statSync(path, { throwIfNoEntry: false })?.isFile() ?? false)
}
