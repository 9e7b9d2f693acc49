import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, describe, expect, it } from 'vitest'
import { majorIn, roomFor, startCluster, type TestCluster } from '../helpers/postgres.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { becomes, type ClusterPlace, clusterPlace, ownedBy, SOURCE } from './helpers/cluster.js'
import { archived, archiveInto, walFiles } from './helpers/recovery.js'

const createCluster = '/usr/bin/pg_createcluster'
const isDebian = existsSync(createCluster) && process.getuid?.() === 0
const NAME = 'nexustest'

interface Debian {
  live: TestCluster
  place: ClusterPlace
  /** Its configuration, outside the data directory. */
  etc: string
  ctl(...words: string[]): void
}

const drops: (() => void)[] = []
afterAll(() => {
  for (const drop of drops) drop()
})

/** A running cluster as Debian makes one: configuration in a directory of its own, a pid file and a log elsewhere. */
async function debianCluster(): Promise<Debian> {
  // Only its room and its helpers are used.
  const nothing = temporaryDirectory()
  writeFileSync(join(nothing, 'postgresql.conf'), '')
  const room = await startCluster({ stopped: true, directory: nothing })
  const root = roomFor(room, 'debian')
  const major = String(majorIn(room.bin))
  const directory = join(root, 'live')
  const env = { ...process.env, PG_CLUSTER_CONF_ROOT: join(root, 'etc'), LC_ALL: 'C.UTF-8' }
  const run = (program: string, args: string[]) => execFileSync(program, args, { env, stdio: 'pipe' })
  run(createCluster, [
    ...['--user', room.user, '-d', directory, '-s', room.room, '-l', join(root, 'live.log'), '-p', '5432'],
    ...['--start-conf', 'manual', major, NAME, '--', '-A', 'trust', '--wal-segsize=1', '--no-sync'],
  ])
  const ctl = (...words: string[]) => void run('/usr/bin/pg_ctlcluster', [major, NAME, ...words])
  drops.push(() => void run('/usr/bin/pg_dropcluster', ['--stop', major, NAME]))
  const etc = join(root, 'etc', major, NAME)
  const file = join(etc, 'postgresql.conf')
  const more = "archive_mode = on\narchive_command = ''\nlisten_addresses = ''\nfsync = off\n"
  writeFileSync(file, readFileSync(file, 'utf8') + more)
  ctl('start')
  const live: TestCluster = {
    ...room,
    directory,
    configure(settings) {
      const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`)
      writeFileSync(file, readFileSync(file, 'utf8') + lines.join(''))
    },
    async reload() {
      ctl('reload')
    },
  }
  return { live, place: clusterPlace(live), etc, ctl }
}

/** What must not change of the live cluster while its copies run. */
function stateOf({ live, etc }: Debian): unknown {
  const pidFile = `/var/run/postgresql/${majorIn(live.bin)}-${NAME}.pid`
  const text = (path: string) => (existsSync(path) && statSync(path).isFile() ? readFileSync(path, 'utf8') : null)
  return {
    postmaster: text(join(live.directory, 'postmaster.pid')),
    pid: text(pidFile),
    log: statSync(join(live.directory, '../live.log')).size,
    configuration: readdirSync(etc).map(name => text(join(etc, name))),
  }
}

/** Runs a printed command as it is, in a shell, from a directory that only root can enter. */
async function paste(command: string): Promise<string> {
  return (await execa(command, { shell: true, cwd: '/root', stdin: 'ignore' })).stdout
}

/** Runs the command that starts a copy, looks into it through its private socket, and runs the one that stops it. */
async function startedAndStopped(
  { live }: Debian,
  // biome-ignore lint/suspicious/noExplicitAny: what the command printed
  { next, prepared, target }: any,
  look: (ask: (sql: string) => Promise<string>) => Promise<void>,
): Promise<void> {
  expect(next).toContain(`${live.bin}/pg_ctl start`)
  for (const name of ['data_directory', 'hba_file', 'ident_file', 'unix_socket_directories', 'external_pid_file']) {
    expect(next).toContain(`${name}=`)
  }
  await paste(next)
  try {
    const { socket_directory: socket, port } = prepared
    expect(statSync(socket).mode & 0o777).toBe(0o700)
    const psql = `runuser -u ${live.user} -- ${live.bin}/psql -h ${socket} -p ${port} -U postgres -XAtc`
    const ask = (sql: string) => paste(`${psql} "${sql}"`)
    // The server runs before its recovery is over.
    const over = () => ask('SELECT pg_is_in_recovery()').catch(error => String(error))
    await becomes('the recovery over', over, 'f')
    await look(ask)
    expect(readFileSync(join(target, 'postmaster.pid'), 'utf8').split('\n')[1]).toBe(target)
  } finally {
    await paste(prepared.stop)
  }
  expect(existsSync(prepared.socket_directory)).toBe(false)
}

describe.skipIf(!isDebian)('every printed command, on Debian’s layout', () => {
  let debian: Debian

  it('starts the copy of a backup and stops it, and nothing of the live cluster changes', async () => {
    debian = await debianCluster()
    const { live, place } = debian
    await live.psql('CREATE TABLE t AS SELECT 1 AS n')
    // These would win over any configuration file.
    await live.psql("ALTER SYSTEM SET port = '6543'")
    await live.psql(`ALTER SYSTEM SET external_pid_file = '${place.directory}/live.pid'`)
    await place.backUp('full', ownedBy(live))
    await archiveInto(live, place)
    await live.psql('INSERT INTO t VALUES (2)')
    await archived(live, place)
    const before = stateOf(debian)
    const to = join(place.directory, "it's a copy")
    const { document } = await place.json('restore', [SOURCE, '--to', to])
    await startedAndStopped(debian, document, async ask => {
      expect(await ask('SELECT max(n) FROM t')).toBe('1')
      expect(await ask('SHOW data_directory')).toBe(to)
    })
    expect(stateOf(debian)).toEqual(before)
  })

  it('starts what is to be recovered, and it recovers', async () => {
    const { place } = debian
    // Now a wrong command would start the live one.
    debian.ctl('stop')
    const { document } = await place.json('pitr restore', [SOURCE, '--end', '--to', join(place.directory, 'end')])
    const before = stateOf(debian)
    const files = walFiles(place)
    await startedAndStopped(debian, document, async ask => {
      expect(await ask('SELECT max(n) FROM t')).toBe('2')
      await ask('SELECT pg_switch_wal()')
    })
    expect([stateOf(debian), walFiles(place)]).toEqual([before, files])
  })

  it('starts one that takes the place of the lost one, and its archive continues', async () => {
    const { live, place } = debian
    const to = join(place.directory, 'heir')
    const { document } = await place.json('pitr restore', [SOURCE, '--end', '--to', to, '--keep-archiving'])
    const before = stateOf(debian)
    await startedAndStopped(debian, document, async ask => {
      expect(await ask('SELECT max(n) FROM t')).toBe('2')
      await archived({ ...live, psql: ask }, place)
    })
    expect(stateOf(debian)).toEqual(before)
    expect(walFiles(place).some(name => name.includes('00000002.history'))).toBe(true)
  })

  it('connects to a copy that was left running, and stops it', async () => {
    const { place } = debian
    const before = stateOf(debian)
    const to = join(place.directory, 'running')
    const running = await place.json('pitr restore', [SOURCE, '--end', '--to', to, '--start'])
    const { connect, stop } = running.document.server
    expect(await paste(`${connect} -Atc 'SELECT max(n) FROM t'`)).toBe('2')
    await paste(stop)
    expect(stateOf(debian)).toEqual(before)
  })
})
