// A PostgreSQL cluster of pgbench's tables for the bench, run by an ordinary user, for PostgreSQL refuses root.
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { unmeasured } from './measure.mjs'

const base = '/usr/lib/postgresql'

/** The newest server that is installed, or undefined. */
export function postgresPrograms() {
  if (!existsSync(base)) return undefined
  const [newest] = readdirSync(base).sort((a, b) => Number(b) - Number(a))
  return newest === undefined ? undefined : join(base, newest, 'bin')
}

/** Starts a cluster with pgbench's tables of about so many megabytes; `stop` removes it. */
export function startBenchCluster(bin, megabytes) {
  const place = mkdtempSync(join(tmpdir(), 'nbbench-'))
  const root = userInfo().uid === 0
  if (root) {
    const id = flag => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
    chownSync(place, id('-u'), id('-g'))
  }
  chmodSync(place, 0o755)
  const env = {
    // Every contestant runs as the server's user: the same rights, the same cost of becoming it.
    AS: root ? 'runuser -u postgres --' : 'env',
    PGBIN: bin,
    PLACE: place,
    PGDATA: join(place, 'data'),
    PGHOST: place,
    PGUSER: 'postgres',
    PGDATABASE: 'postgres',
    CONNECTION: `host=${place} user=postgres dbname=postgres`,
  }
  const scale = Math.max(1, Math.round(megabytes / 15))
  const settings = ['listen_addresses=', `unix_socket_directories=${place}`, 'shared_buffers=512MB', 'max_wal_size=4GB']
  const steps = [
    'cd / && $AS "$PGBIN/initdb" -D "$PGDATA" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync',
    `cd / && $AS "$PGBIN/pg_ctl" start -w -D "$PGDATA" -l "$PLACE/log" -o "${settings.map(setting => `-c ${setting}`).join(' ')}"`,
    `cd / && $AS "$PGBIN/pgbench" -i -q -s ${scale}`,
    'cd / && $AS "$PGBIN/psql" -q -c "VACUUM FREEZE ANALYZE" -c CHECKPOINT',
  ]
  const stop = () => {
    try {
      unmeasured('cd / && $AS "$PGBIN/pg_ctl" stop -m immediate -w -D "$PGDATA"', env)
    } catch {
      // It never started; the error of the start is the one to tell.
    }
    rmSync(place, { recursive: true, force: true })
  }
  try {
    for (const step of steps) unmeasured(step, env)
  } catch (error) {
    stop()
    throw error
  }
  return { env, stop }
}
