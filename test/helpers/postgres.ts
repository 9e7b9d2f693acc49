import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { execa } from 'execa'
import { afterAll } from 'vitest'
import { newCluster } from './new-cluster.js'
import { giveCredentials } from './repository-kind.js'

/** A PostgreSQL server of the tests' own: private socket, no TCP port, not durable unless asked. */
export interface TestCluster {
  /** The data directory. */
  readonly directory: string
  /** Directory of the socket, also the base for whatever a test puts beside it; the server's user may write there. */
  readonly room: string
  /** Directory of PostgreSQL's programs. */
  readonly bin: string
  /** The user the server runs as: `postgres` when we are root. */
  readonly user: string
  readonly uid: number
  readonly gid: number
  /** For libpq, as the superuser `postgres` on the database `postgres`. */
  readonly connection: string
  /** Runs SQL and returns what psql prints, unaligned and without headings. */
  psql(sql: string, database?: string): Promise<string>
  /** Runs one of PostgreSQL's programs (or any other by absolute path) as the server's user. */
  run(program: string, args: string[], env?: Record<string, string>): Promise<{ stdout: string; stderr: string }>
  start(): Promise<void>
  stop(mode?: 'smart' | 'fast' | 'immediate'): Promise<void>
  /** Appends to postgresql.conf; needs a restart or reload. */
  configure(settings: Record<string, string>): void
  reload(): Promise<void>
}

export interface ClusterOptions {
  settings?: Record<string, string>
  initdb?: string[]
  /** An existing data directory to run instead of a new one (a restored copy, a standby). */
  directory?: string
  /** Leaves the server stopped. */
  stopped?: boolean
  /**
   * Segments of 1 MiB, and no database but `postgres`: a third of the bytes, for clusters that are copied again and again.
   * CREATE DATABASE needs a template; name one.
   */
  lean?: boolean
}

const rooms: { room: string; stop: () => Promise<void> }[] = []

afterAll(async () => {
  for (const { room, stop } of rooms.splice(0)) {
    await stop().catch(() => {})
    rmSync(room, { recursive: true, force: true })
  }
})

/** Makes a cluster and starts it; it is stopped and removed after the test file. */
export async function startCluster(options: ClusterOptions = {}): Promise<TestCluster> {
  const bin = programDirectory()
  const { uid, gid, user } = serverUser()
  // Sockets have short names, and the server's user must be able to come in.
  const room = mkdtempSync(join(tmpdir(), 'nbpg-'))
  chownSync(room, uid, gid)
  chmodSync(room, 0o755)
  giveCredentials(room, { uid, gid })
  const directory = options.directory ?? join(room, 'data')
  const as = process.getuid?.() === 0 ? { uid, gid } : {}
  const plain = { PATH: process.env.PATH ?? '', LC_ALL: 'C.UTF-8', TZ: 'UTC', HOME: room }
  const run: TestCluster['run'] = async (program, args, env = {}) => {
    const path = program.startsWith('/') ? program : join(bin, program)
    const { stdout, stderr } = await execa(path, args, {
      ...as,
      cwd: room,
      env: { ...plain, ...env },
      extendEnv: false,
    })
    return { stdout, stderr }
  }
  const connection = `host=${room} port=5432 user=postgres dbname=postgres`
  const cluster: TestCluster = {
    directory,
    room,
    bin,
    user,
    uid,
    gid,
    connection,
    run,
    async psql(sql, database = 'postgres') {
      const args = [
        '-X',
        '-q',
        '-A',
        '-t',
        '-v',
        'ON_ERROR_STOP=1',
        '-d',
        `${connection} dbname=${database}`,
        '-c',
        sql,
      ]
      return (await run('psql', args)).stdout
    },
    async start() {
      await run('pg_ctl', ['start', '-D', directory, '-w', '-t', '60', '-l', join(room, 'server.log')])
    },
    async stop(mode = 'fast') {
      await run('pg_ctl', ['stop', '-D', directory, '-m', mode, '-w', '-t', '60'])
    },
    configure(settings) {
      const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`)
      const file = join(directory, 'postgresql.conf')
      writeFileSync(file, readFileSync(file, 'utf8') + lines.join(''))
    },
    async reload() {
      await run('pg_ctl', ['reload', '-D', directory])
    },
  }
  rooms.push({ room, stop: () => cluster.stop('immediate') })
  if (options.directory === undefined) {
    const args = ['-U', 'postgres', '-A', 'trust', '--no-sync', '-E', 'UTF8', '--locale=C.UTF-8']
    // From 18 on initdb gives checksums unless it is told not to; what `options.initdb` says later wins.
    if (majorIn(bin) >= 18) args.push('--no-data-checksums')
    const lean = options.lean === true
    const initdb = [...args, ...(lean ? ['--wal-segsize=1'] : []), ...(options.initdb ?? [])]
    await newCluster(directory, { initdb, withoutTemplates: lean, bin, owner: { uid, gid } })
    cluster.configure({
      fsync: 'off',
      max_wal_senders: '10',
      wal_level: 'replica',
      log_timezone: 'UTC',
      timezone: 'UTC',
    })
  }
  cluster.configure({ listen_addresses: '', unix_socket_directories: room, ...options.settings })
  if (options.stopped !== true) await cluster.start()
  return cluster
}

/** A directory that the server's user owns, below the cluster's room. */
export function roomFor(cluster: TestCluster, name: string): string {
  const path = join(cluster.room, name)
  mkdirSync(path, { mode: 0o700 })
  chownSync(path, cluster.uid, cluster.gid)
  return path
}

function programDirectory(): string {
  const base = '/usr/lib/postgresql'
  const [newest] = readdirSync(base).sort((a, b) => Number(b) - Number(a))
  if (newest === undefined) throw new Error('PostgreSQL is not installed: apt-get install postgresql')
  return join(base, newest, 'bin')
}

/** `/usr/lib/postgresql/15/bin` */
export function majorIn(bin: string): number {
  return Number(basename(dirname(bin)))
}

/** PostgreSQL refuses root. */
function serverUser(): { uid: number; gid: number; user: string } {
  const { uid, gid, username } = userInfo()
  if (uid !== 0) return { uid, gid, user: username }
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find(entry => entry.startsWith('postgres:'))
  const [, , postgresUid, postgresGid] = line?.split(':') ?? []
  if (postgresUid === undefined) throw new Error('there is no user postgres: apt-get install postgresql')
  return { uid: Number(postgresUid), gid: Number(postgresGid), user: 'postgres' }
}
