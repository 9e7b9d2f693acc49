import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Programs } from './programs.js'
import { type PostgresSession, queryJson, sessionCommand } from './psql.js'
import type { ClusterCheck } from './restored-checks.js'
import { type Account, commandAs } from './run-as.js'

const MAX_DETAIL = 20_000
/** Status of pg_amcheck when it found something wrong; 1 is any other failure (PostgreSQL pg_amcheck.c). */
const FOUND = 2
/** What pg_amcheck also calls a finding, though a query of its own was kept from its end. */
const troubles =
  /canceling statement|out of (?:shared )?memory|No space left|could not (?:resize|map) shared memory|too many open files|terminating connection|server closed the connection|connection to server|could not (?:access|load) |does not exist|permission denied|Input\/output error/i

/** A database or a relation that the catalogue knows and the data directory does not hold, or not as PostgreSQL wrote it. */
export const missingContent =
  /database subdirectory "[^"]*" is missing|could not open (?:file|directory) "(?:base|global|pg_tblspc|pg_xact|pg_multixact)\/|invalid page in block|WAL contains references to invalid pages|could not locate (?:a valid|required) checkpoint record|WAL ends before/

/**
 * Checks every table and index of every database with pg_amcheck, which comes with PostgreSQL 14 and later. The extension
 * it needs is made where it is missing: for scratch copies only. What keeps it from looking is an `error`, no finding; so are
 * the findings of indexes whose order this machine's collations see otherwise than the one they were made on.
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
  const { exitCode, stdout, stderr, shortMessage } = await execa(file, all, {
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
  const isFinding = exitCode === FOUND ? !onlyTroubles(said) : missingContent.test(said)
  if (!isFinding) {
    return { name, status: 'error', detail: said === '' ? (shortMessage ?? `exit code ${exitCode}`) : said }
  }
  const collations = await otherCollations(session)
  if (collations === '' || !onlyIndexes(said)) return { name, status: 'failed', detail: said }
  return {
    name,
    status: 'error',
    detail: `this machine orders text otherwise than where the indexes were made (${collations}), so what it says of them tells nothing: ${said}`,
  }
}

/** Whether every error that pg_amcheck shows is about its own queries. Findings of tables carry no ERROR. */
function onlyTroubles(said: string): boolean {
  const errors = said.split('\n').filter(line => /ERROR: /.test(line))
  const objects = said.split('\n').filter(line => /^(?:heap|btree|sequence|toast|index|table)\b.*:\s*$/.test(line))
  return errors.length > 0 && errors.length >= objects.length && errors.every(line => troubles.test(line))
}

function onlyIndexes(said: string): boolean {
  return !/^(?:heap|toast|sequence)\b/m.test(said)
}

/** Databases and collations whose library is of another version here; '' when all are the same, or servers before 15. */
async function otherCollations(session: PostgresSession): Promise<string> {
  if (session.programs.major < 15) return ''
  const found = await queryJson(
    session,
    `SELECT to_json(coalesce(string_agg(what, ', '), '')) FROM (
      SELECT 'database ' || datname AS what FROM pg_database
      WHERE datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid) AND datcollversion IS NOT NULL
      UNION ALL SELECT 'collation ' || collname FROM pg_collation
      WHERE collversion IS DISTINCT FROM pg_collation_actual_version(oid) AND collversion IS NOT NULL LIMIT 5) AS others`,
  )
  return String(found)
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
  const { exitCode, stdout, stderr, shortMessage } = await execa(file, args, {
    ...options,
    stdin: 'ignore',
    reject: false,
    cancelSignal: signal,
  })
  signal.throwIfAborted()
  if (exitCode === 0) return { name, status: 'ok', detail: /Blocks scanned:\s+\d+/.exec(stdout)?.[0] ?? 'every page' }
  const said = `${stdout}\n${stderr}`.trim().slice(0, MAX_DETAIL)
  const isFinding = /checksum verification failed|invalid checksum/.test(said)
  const detail = said === '' ? (shortMessage ?? `exit code ${exitCode}`) : said
  return { name, status: isFinding ? 'failed' : 'error', detail }
}
