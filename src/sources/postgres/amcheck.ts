import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Programs } from './programs.js'
import { type PostgresSession, sessionCommand } from './psql.js'
import type { ClusterCheck } from './restored-checks.js'
import { type Account, commandAs } from './run-as.js'

const MAX_DETAIL = 20_000

/**
 * Checks every table and index of every database with pg_amcheck, which comes with PostgreSQL 14 and later. The extension
 * it needs is made where it is missing: for scratch copies only.
 */
export async function amcheck(session: PostgresSession): Promise<ClusterCheck> {
  const name = 'pg_amcheck'
  if (!existsSync(join(session.programs.directory, name))) {
    return { name, status: 'skipped', detail: `PostgreSQL ${session.programs.major} has no pg_amcheck here` }
  }
  const { execa } = await import('execa')
  // Every database is found through the one that the connection names.
  const args = ['-w', '--all', '--install-missing', `--maintenance-db=${session.connection}`]
  const { file, args: all, options } = sessionCommand({ ...session, connection: '' }, name, args)
  const { exitCode, stdout, stderr } = await execa(file, all, {
    ...options,
    stdin: 'ignore',
    reject: false,
    cancelSignal: session.signal,
  })
  session.signal.throwIfAborted()
  if (exitCode === 0) return { name, status: 'ok', detail: 'every table and index of every database' }
  const said = `${stdout}\n${stderr}`.trim().slice(0, MAX_DETAIL)
  const isAbsent = /extension "amcheck" is not available|amcheck\.control/.test(said)
  if (isAbsent) return { name, status: 'skipped', detail: `the extension amcheck is not installed here: ${said}` }
  return { name, status: 'failed', detail: said }
}

/** Checks the checksum of every page of a stopped cluster. */
export async function checksums(
  programs: Programs,
  account: Account | null,
  { directory, enabled, signal }: { directory: string; enabled: boolean; signal: AbortSignal },
): Promise<ClusterCheck> {
  const name = 'pg_checksums'
  if (!enabled) return { name, status: 'skipped', detail: 'data checksums are off in this cluster' }
  const program = join(programs.directory, name)
  if (!existsSync(program)) return { name, status: 'skipped', detail: `there is no ${program}` }
  const { execa } = await import('execa')
  const { file, args, options } = commandAs(account, program, ['--check', '-D', directory], { LC_ALL: 'C' })
  const { exitCode, stdout, stderr } = await execa(file, args, {
    ...options,
    stdin: 'ignore',
    reject: false,
    cancelSignal: signal,
  })
  signal.throwIfAborted()
  if (exitCode === 0) return { name, status: 'ok', detail: /Blocks scanned:\s+\d+/.exec(stdout)?.[0] ?? 'every page' }
  return { name, status: 'failed', detail: `${stdout}\n${stderr}`.trim().slice(0, MAX_DETAIL) }
}
