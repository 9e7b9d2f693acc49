import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { execa } from 'execa'
import { describe, expect, it } from 'vitest'
import { roomFor, startCluster, type TestCluster } from '../helpers/postgres.js'
import { inBucket, isEncrypted } from '../helpers/repository-kind.js'
import { type Stored, storedIn } from '../helpers/stored.js'
import { holding } from '../operations/sealing/encrypted.js'
import {
  becomes,
  type ClusterPlace,
  clusterPlace,
  contentOf,
  fill,
  manifestOf,
  ownedBy,
  SOURCE,
} from './helpers/cluster.js'
import { archived, archiveInto, burst, type Mark, mark, walFiles } from './helpers/recovery.js'

const isRoot = process.getuid?.() === 0
let cluster: TestCluster
let place: ClusterPlace
const marks = new Map<string, Mark>()
const ids = new Map<string, string>()

const marked = (name: string): Mark => {
  const found = marks.get(name)
  if (found === undefined) throw new Error(`no mark ${name}`)
  return found
}
const idOf = (type: string): string => ids.get(type) ?? ''

/** Transactions go on while the backup is taken. */
async function backUpUnderLoad(type: string, args: string[] = []): Promise<void> {
  const [backup] = await Promise.all([place.backUp(type, args), burst(cluster, 100)])
  ids.set(type, backup.id)
}

async function remember(name: string): Promise<void> {
  await burst(cluster)
  marks.set(name, await mark(cluster, name))
}

it('a cluster is backed up in all three ways while it works and archives', async () => {
  cluster = await startCluster({
    lean: true,
    initdb: ['--data-checksums', '--wal-segsize=8'],
    // What nobody does must not fill segments while the archive is looked at.
    settings: { archive_mode: 'on', archive_command: '', autovacuum: 'off' },
  })
  place = clusterPlace(cluster, { more: ['checks: ["SELECT count(*) FROM pgbench_accounts", "SELECT true"]'] })
  await fill(cluster, 1)
  await backUpUnderLoad('full', ownedBy(cluster))
  await archiveInto(cluster, place)
  await remember('alpha')
  await cluster.psql('CREATE TABLE gone AS SELECT generate_series(1, 1000) AS number')
  await backUpUnderLoad('incr')
  await remember('beta')
  await cluster.psql('DROP TABLE gone')
  await backUpUnderLoad('diff')
  await remember('gamma')
  await archived(cluster, place)
})

let copies = 0

/** A new path to restore to, below the cluster's room. */
function target(): string {
  return join(place.directory, `copy-${copies++}`)
}

const restored = (args: readonly string[], to = target()) =>
  place.json('pitr restore', [SOURCE, ...args, '--to', to, '--start', '--stop'])

/** What is in a copy whose recovery is over. */
async function contentIn(directory: string): Promise<Record<string, string>> {
  const copy = await startCluster({ directory })
  const content = await contentOf(copy)
  // Whatever it would archive, it would now.
  await copy.psql('SELECT pg_switch_wal()')
  await copy.psql('CHECKPOINT')
  await copy.stop()
  return content
}

describe('a cluster brought back', () => {
  const before: string[] = []

  it('to a time is what it was then, from the newest backup before it', async () => {
    before.push(...walFiles(place))
    const { at, content } = marked('alpha')
    const { code, document } = await restored(['--at', at])
    expect(code).toBe(0)
    expect(document).toMatchObject({ command: 'pitr restore', id: idOf('full'), requested_at: at, server: null })
    expect(document.reached.timeline).toBe(2)
    expect(Date.parse(document.reached.at)).toBeLessThanOrEqual(Date.parse(at))
    expect(document.checks.map(({ status }: { status: string }) => status)).toEqual(['ok', 'ok'])
    expect(await contentIn(document.target)).toEqual(content)
  })

  it('to a position, and stands there paused when it is told to', async () => {
    const { lsn, content } = marked('beta')
    const { code, document } = await restored(['--lsn', lsn])
    expect([code, document.id]).toEqual([0, idOf('incr')])
    expect(await contentIn(document.target)).toEqual(content)
    const paused = await restored(['--lsn', lsn, '--target-action', 'pause'])
    expect(paused.document.reached).toMatchObject({ paused: true, timeline: 1 })
  })

  it('to a named point', async () => {
    const { code, document } = await restored(['--restore-point', 'beta'])
    expect([code, document.recovery_target]).toEqual([0, "recovery_target_name = 'beta'"])
    expect(await contentIn(document.target)).toEqual(marked('beta').content)
  })

  it('to a transaction, which is the last one replayed', async () => {
    const xid = await cluster.psql(`SELECT max(xmin::text::bigint) FROM pgbench_history`)
    const { code, document } = await restored(['--xid', xid])
    expect([code, document.recovery_target]).toEqual([0, `recovery_target_xid = '${xid}'`])
    expect(await contentIn(document.target)).toEqual(marked('gamma').content)
  })

  it('to the end of the archive', async () => {
    const { code, document } = await restored(['--end'])
    expect([code, document.id]).toEqual([0, idOf('diff')])
    expect(await contentIn(document.target)).toEqual(marked('gamma').content)
  })

  it('to a time after the last commit, and says that no transaction lies between', async () => {
    const { at, content } = marked('gamma')
    const { code, document } = await restored(['--at', at])
    expect(code).toBe(0)
    expect(document.notes).toEqual([expect.stringContaining('no transaction ended between')])
    expect(await contentIn(document.target)).toEqual(content)
  })

  it('wrote nothing into the archive it came from, though it was promoted and went on', () => {
    expect(before.length).toBeGreaterThan(0)
    expect(walFiles(place)).toEqual(before)
  })

  it('belongs to its server’s user, has right checksums, and nothing is left beside it', async () => {
    const [copy = ''] = readdirSync(place.directory).filter(name => name.startsWith('copy-'))
    await cluster.run('pg_checksums', ['--check', '-D', join(place.directory, copy)])
    expect(readdirSync(place.directory).filter(name => name.startsWith('.'))).toEqual([])
  })

  it('from a backup alone starts without the archive, and pg_verifybackup accepts it', async () => {
    const to = target()
    await place.ok('restore', [idOf('full'), '--to', to])
    await cluster.run('pg_verifybackup', ['-e', to])
    expect(existsSync(join(to, 'recovery.signal'))).toBe(false)
    expect(readFileSync(join(to, 'postgresql.auto.conf'), 'utf8')).toContain("archive_mode = 'off'")
    const accounts = (await contentIn(to))['postgres: pgbench_accounts']
    expect(accounts).toMatch(/^100000:/)
    expect(walFiles(place)).toEqual(before)
  })

  it('can be left running, with commands that connect to it and stop it', async () => {
    const { code, document } = await place.json('pitr restore', [SOURCE, '--end', '--to', target(), '--start'])
    expect(code).toBe(0)
    const { connect, stop } = document.server
    try {
      const { stdout } = await execa(`${connect} -Atc 'SELECT pg_is_in_recovery()'`, { shell: true })
      expect(stdout).toBe('f')
    } finally {
      await execa(stop, { shell: true })
    }
    expect(existsSync(document.server.socket_directory)).toBe(false)
  })
})

describe('the points of a cluster', () => {
  it('are one window from the first backup to the last commit', async () => {
    const { document } = await place.json('pitr points', [SOURCE])
    const [first] = (await place.json('list', [SOURCE])).document.backups
    expect(document.points).toEqual([])
    expect(document.windows).toEqual([{ from: first.captured_at, to: expect.any(String), timeline: 1 }])
    const [{ to }] = document.windows
    expect(Date.parse(to)).toBeLessThanOrEqual(Date.parse(marked('gamma').at))
    expect(Date.parse(to)).toBeGreaterThan(Date.parse(marked('beta').at))
  })
})

describe('a drill', () => {
  it('runs the copy by itself, with content checks, pg_amcheck and page checksums', async () => {
    const { code, document } = await place.json('verify', [SOURCE, '--drill'])
    expect(code).toBe(0)
    const drilled = document.results.find(({ level }: { level: string }) => level === 'drill')
    const checks = drilled.drill.checks.map(
      ({ name, status }: { name: string; status: string }) => `${name}: ${status}`,
    )
    expect(checks).toEqual([
      'recovery: ok',
      'SELECT count(*) FROM pgbench_accounts: ok',
      'SELECT true: ok',
      // 13 has none.
      `pg_amcheck: ${existsSync(join(cluster.bin, 'pg_amcheck')) ? 'ok' : 'skipped'}`,
      'pg_checksums: ok',
    ])
    // Until the server was ready: the checks come after.
    const { detail } = drilled.drill.checks[0]
    expect(detail).toMatch(/^ready after \d+ ms at [0-9A-F]+\/[0-9A-F]+, checked in \d+ ms more$/)
    expect(detail.split(' ')[2]).toBe(String(drilled.drill.restore_ms))
  })

  it('finds the captured content wrong where a content check is false', async () => {
    const checks = 'checks: ["SELECT count(*) < 0 FROM pgbench_accounts"]'
    const sceptic = clusterPlace(cluster, { beside: place, more: [checks] })
    const { code, document } = await sceptic.json('verify', [SOURCE, '--drill'])
    expect(code).toBe(4)
    const drilled = document.results.find(({ level }: { level: string }) => level === 'drill')
    expect(drilled).toMatchObject({ status: 'source-damaged', affects: [] })
  })

  it('is no damage when a query does not run: the backup is restored all the same', async () => {
    const beside = clusterPlace(cluster, { beside: place, more: ['checks: ["SELECT nonsense FROM nowhere"]'] })
    const { code, document, error } = await beside.json('verify', [SOURCE, '--drill'])
    expect([code, error.error.code]).toEqual([3, 'drill_failed'])
    const drilled = document.results.find(({ level }: { level: string }) => level === 'drill')
    expect(drilled).toMatchObject({ status: 'drill-failed', affects: [] })
    const restored = await beside.run('restore', [drilled.id, '--to', target()])
    expect([restored.code, restored.stderr]).toEqual([0, expect.stringContaining(`${drilled.id} --drill`)])
  })
})

describe('a target that cannot be reached', () => {
  const refused = async (args: readonly string[], to = target()) => {
    const { code, error } = await place.json('pitr restore', [SOURCE, ...args, '--to', to])
    expect(existsSync(to) && basename(to).startsWith('copy-') && readdirSync(to).length > 0).toBe(false)
    return { code, ...error.error }
  }

  it('is refused before the first backup and after the last instant, with the window', async () => {
    const [first] = (await place.json('list', [SOURCE])).document.backups
    const early = new Date(Date.parse(first.captured_at) - 1).toISOString()
    expect(await refused(['--at', early])).toMatchObject({ code: 'target_too_early', exit_code: 5 })
    const late = await refused(['--at', '2100-01-01T00:00:00Z'])
    expect(late).toMatchObject({ code: 'target_too_late', exit_code: 5, hint: expect.stringContaining('pitr points') })
    expect(await refused(['--lsn', 'F/0'])).toMatchObject({ exit_code: 5 })
    expect(await refused(['--lsn', '0/28'])).toMatchObject({ code: 'target_too_early', exit_code: 5 })
    expect(await refused(['--xid', '4000000000'])).toMatchObject({ code: 'target_not_found', exit_code: 5 })
    expect(await refused(['--restore-point', 'nowhere'])).toMatchObject({ code: 'target_not_found', exit_code: 5 })
    expect(await refused(['--end', '--timeline', '9'])).toMatchObject({ code: 'no_base', exit_code: 5 })
  })

  it('is never put over anything', async () => {
    const there = target()
    mkdirSync(there)
    writeFileSync(join(there, 'mine'), 'mine')
    const { code, error } = await place.json('pitr restore', [SOURCE, '--end', '--to', there])
    expect([code, error.error.code]).toEqual([8, 'target_exists'])
    expect(readFileSync(join(there, 'mine'), 'utf8')).toBe('mine')
  })
})

describe('an archive that is not whole', () => {
  /** The same repository, to be harmed. */
  function harmed(): { own: ClusterPlace; stored: Stored; segment(name: string): string } {
    const own = clusterPlace(cluster)
    storedIn(place.repository).copyTo(own.repository)
    return { own, stored: storedIn(own.repository), segment: name => `${SOURCE}/wal/${pathOf(name)}` }
  }
  const pathOf = (name: string) => walFiles(place).find(path => path.includes(`/${name}.zst`)) ?? name
  /** Segments that recovery reads from the backup to the end. */
  async function needed(id: string): Promise<string[]> {
    const { facts } = manifestOf(place, id)
    const names = walFiles(place).map(path => basename(path).split('.zst')[0] ?? '')
    return names.filter(name => name.length === 24 && name > facts.stop_segment)
  }
  const owned = async (path: string) => {
    if (isRoot && !inBucket) await execa('chown', ['-R', cluster.user, path])
  }

  it('names the segment that is missing, with exit code 4, and restores what lies before it', async () => {
    const { own, stored, segment } = harmed()
    const [first = ''] = await needed(idOf('full'))
    stored.remove(segment(first))
    const { code, error } = await own.json('pitr restore', [SOURCE, '--at', marked('alpha').at, '--to', target()])
    expect([code, error.error.code]).toEqual([4, 'wal_missing'])
    expect(error.error.message).toContain(first)
    const found = await own.json('pitr restore', [SOURCE, '--restore-point', 'alpha', '--to', target()])
    expect([found.code, found.error.error.message.includes(first)]).toEqual([4, true])
    const { document } = await own.json('pitr points', [SOURCE])
    expect(document.points.map(({ id }: { id: string }) => id)).toContain(idOf('full'))
  })

  it('is damage before anything is staged where a byte of a segment is flipped', async () => {
    const { own, stored, segment } = harmed()
    const names = await needed(idOf('full'))
    const [first = ''] = names
    const bytes = stored.read(segment(first))
    bytes[bytes.length - 100] = (bytes[bytes.length - 100] ?? 0) ^ 1
    stored.write(segment(first), bytes)
    await owned(own.repository)
    const to = target()
    const args = [SOURCE, '--lsn', marked('alpha').lsn, '--to', to, '--start', '--stop']
    const { code, error } = await own.json('pitr restore', args)
    expect(code).toBe(4)
    expect(error.error.message).toContain('damaged')
    expect(existsSync(to)).toBe(false)
  })

  // Objects have no modes.
  it.skipIf(!isRoot || inBucket)('is refused where the user of the server cannot read a segment', async () => {
    const { own, segment } = harmed()
    await owned(own.repository)
    const [first = ''] = await needed(idOf('full'))
    const path = join(own.repository, segment(first))
    await execa('chown', ['root', path])
    chmodSync(path, 0o600)
    const to = target()
    const args = [SOURCE, '--restore-point', 'alpha', '--to', to, '--start', '--stop']
    const { code, error } = await own.json('pitr restore', args)
    expect([code, error.error.code]).toEqual([8, 'restore_command_fails'])
    expect(error.error.message).toContain(first)
    expect(existsSync(to)).toBe(false)
  })

  // In a bucket there is no pipe to stand in for a fetch that never ends.
  it.skipIf(inBucket)('is waited for no longer after a signal, and nothing stays', async () => {
    const { own, stored, segment } = harmed()
    const [first = ''] = await needed(idOf('full'))
    const names = await needed(idOf('full'))
    expect(names.length).toBeGreaterThan(0)
    const to = target()
    const until = ['--lsn', marked('alpha').lsn, '--to', to]
    // The segments are looked through once: then it is the fetch that never ends.
    await owned(own.repository)
    expect((await own.run('pitr restore', [SOURCE, ...until, '--dry-run'])).code).toBe(0)
    stored.remove(segment(first))
    await execa('mkfifo', [join(own.repository, segment(first))])
    await owned(own.repository)
    const running = own.start('pitr restore', [SOURCE, ...until, '--start'])
    const fetching = async () =>
      String(commandLines().some(line => line.includes('fetch') && line.includes(own.config)))
    await becomes('fetching', fetching, 'true')
    running.child.kill('SIGTERM')
    expect((await running.done).code).toBe(143)
    expect(existsSync(to)).toBe(false)
    await becomes('running', async () => String(commandLines().some(line => line.includes(to))), 'false')
    await becomes('fetching', fetching, 'false')
  })
})

describe('a standby that was promoted', () => {
  it('goes on archiving into the same source on a timeline of its own', async () => {
    const directory = roomFor(cluster, 'standby')
    await cluster.run('pg_basebackup', ['-D', directory, '-R', '-d', cluster.connection, '-c', 'fast'])
    const standby = await startCluster({ directory })
    const beside = clusterPlace(standby, { beside: place })
    const taken = await beside.backUp('full')
    const drill = await beside.json('verify', [taken.id, '--drill'])
    expect([drill.code, drill.document.results[0].level]).toEqual([0, 'drill'])
    await cluster.stop()
    await standby.run('pg_ctl', ['promote', '-w', '-D', directory])
    await burst(standby)
    const onSecond = await mark(standby, 'delta')
    await archived(standby, place)

    const latest = await restored(['--at', onSecond.at])
    expect([latest.code, latest.document.timeline, latest.document.id]).toEqual([0, 2, taken.id])
    expect(await contentIn(latest.document.target)).toEqual(onSecond.content)
    const old = await restored(['--end', '--timeline', '1'])
    expect([old.code, old.document.timeline]).toEqual([0, 1])
    expect(await contentIn(old.document.target)).toEqual(marked('gamma').content)
    const { document } = await place.json('pitr points', [SOURCE])
    expect(document.windows).toHaveLength(1)
    expect(document.windows[0].timeline).toBe(2)
    expect(Date.parse(document.windows[0].to)).toBeGreaterThan(Date.parse(marked('gamma').at))
  })
})

describe.runIf(isEncrypted)('an encrypted repository of a cluster', () => {
  it('shows nobody what is in it', () => {
    const thief = storedIn(place.repository).asDirectory()
    expect(holding(thief, 'nexus-backup.json')).not.toEqual([])
    for (const text of ['SELECT count(*) FROM pgbench_accounts', 'pgbench_accounts']) {
      expect(holding(thief, text), text).toEqual([])
    }
  })
})

/** Of every process that is there. */
function commandLines(): string[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(pid => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      } catch {
        // It is gone meanwhile.
        return ''
      }
    })
}
