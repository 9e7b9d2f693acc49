import { lstatSync, readdirSync, readlinkSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { roomFor, startCluster, type TestCluster } from '../helpers/postgres.js'
import { type ClusterPlace, clusterPlace, contentOf, ownedBy, SOURCE } from './helpers/cluster.js'
import { archived, archiveInto, mark } from './helpers/recovery.js'
import { canMount, smallDisk } from './helpers/small-disk.js'

interface Spread {
  cluster: TestCluster
  place: ClusterPlace
  /** Where its tablespace lies. */
  fast: string
}

/** A cluster with a tablespace, and its configuration outside its data directory, as Debian has it. */
async function spreadCluster(): Promise<Spread> {
  const cluster = await startCluster({ lean: true, settings: { archive_mode: 'on', archive_command: '' } })
  const fast = roomFor(cluster, 'fast')
  await cluster.psql(`CREATE TABLESPACE fast LOCATION '${fast}'`)
  await cluster.psql('CREATE TABLE far TABLESPACE fast AS SELECT generate_series(1, 5000) AS number')
  const place = clusterPlace(cluster, { more: ['checks: ["SELECT count(*) = 5000 FROM far"]'] })
  await place.backUp('full', ownedBy(cluster))
  await archiveInto(cluster, place)
  await cluster.stop()
  const etc = roomFor(cluster, 'etc')
  for (const name of ['postgresql.conf', 'pg_hba.conf', 'pg_ident.conf']) {
    renameSync(join(cluster.directory, name), join(etc, name))
  }
  const files = [
    ['config_file', 'postgresql.conf'],
    ['hba_file', 'pg_hba.conf'],
    ['ident_file', 'pg_ident.conf'],
  ].map(([name, file]) => `-c ${name}=${join(etc, file ?? '')}`)
  const log = join(cluster.room, 'server.log')
  await cluster.run('pg_ctl', ['start', '-w', '-D', cluster.directory, '-l', log, '-o', files.join(' ')])
  await place.backUp('incr')
  await cluster.psql('UPDATE far SET number = -number WHERE number <= 10')
  return { cluster, place, fast }
}

describe('a cluster with a tablespace and its configuration elsewhere', () => {
  it('is restored where it is told to, recovered and drilled without that configuration', async () => {
    const { cluster, place, fast } = await spreadCluster()
    const then = await mark(cluster, 'then')
    await cluster.psql('DROP TABLE far')
    await archived(cluster, place)
    const to = join(place.directory, 'copy')
    const args = [SOURCE, '--at', then.at, '--to', to]

    const unmapped = await place.json('pitr restore', args)
    expect([unmapped.code, unmapped.error.error.code]).toEqual([8, 'tablespace_unmapped'])
    expect(unmapped.error.error.hint).toContain(`--tablespace-map ${fast}=`)
    const wrong = await place.json('pitr restore', [...args, '--tablespace-map', `/nowhere=${place.directory}/x`])
    expect([wrong.code, wrong.error.error.code]).toEqual([2, 'tablespace_unknown'])
    expect(readdirSync(place.directory)).not.toContain('copy')

    const moved = join(place.directory, 'moved')
    const mapped = ['--tablespace-map', `${fast}=${moved}`]
    const { code, document } = await place.json('pitr restore', [...args, ...mapped, '--start', '--stop'])
    expect([code, document.checks]).toMatchObject([0, [{ status: 'ok' }]])
    const [link = ''] = readdirSync(join(to, 'pg_tblspc'))
    expect(readlinkSync(join(to, 'pg_tblspc', link))).toBe(moved)
    expect(statSync(moved).uid).toBe(cluster.uid)
    expect(statSync(to).mode & 0o777).toBe(0o700)
    for (const name of ['postgresql.conf', 'pg_hba.conf', 'pg_ident.conf']) {
      renameSync(join(cluster.room, 'etc', name), join(to, name))
    }
    await cluster.stop()
    const copy = await startCluster({ directory: to })
    expect(await contentOf(copy)).toEqual(then.content)
    await copy.stop()

    const drill = await place.json('verify', [SOURCE, '--drill'])
    const levels = drill.document.results.map(({ level }: { level: string }) => level)
    expect([drill.code, levels]).toEqual([0, expect.arrayContaining(['drill'])])
  })

  it('goes into empty directories that are there already, and back to its own place when that is free', async () => {
    const { cluster, place, fast } = await spreadCluster()
    await archived(cluster, place)
    const content = await contentOf(cluster)
    await cluster.stop()
    renameSync(fast, `${fast}.lost`)
    const to = roomFor(cluster, 'empty')
    const args = [SOURCE, '--end', '--to', to, '--start', '--stop']
    const refused = await place.json('pitr restore', args)
    expect([refused.code, refused.error.error.code]).toEqual([8, 'tablespace_unmapped'])
    expect(refused.error.error.hint).toContain(`--tablespace-map ${fast}=${fast}`)
    const { document } = await place.json('pitr restore', [...args, '--tablespace-map', `${fast}=${fast}`])
    expect(document.checks).toMatchObject([{ status: 'ok' }])
    expect(lstatSync(fast).isDirectory()).toBe(true)
    for (const name of ['postgresql.conf', 'pg_hba.conf', 'pg_ident.conf']) {
      renameSync(join(cluster.room, 'etc', name), join(to, name))
    }
    const copy = await startCluster({ directory: to })
    expect(await contentOf(copy)).toEqual(content)
    await copy.stop()
  })
})

describe.skipIf(!canMount)('a data directory that is a file system of its own', () => {
  it('is filled, and belongs to its server’s user', async () => {
    const cluster = await startCluster()
    const place = clusterPlace(cluster)
    await cluster.psql('CREATE TABLE t AS SELECT 1 AS a')
    await place.backUp('full')
    await cluster.stop()
    const to = smallDisk(join(place.directory, 'mounted'), 200_000_000)
    await place.ok('restore', [SOURCE, '--to', to])
    expect(statSync(to)).toMatchObject({ uid: cluster.uid })
    expect(readdirSync(to).filter(name => name.startsWith('.'))).toEqual([])
    const copy = await startCluster({ directory: to })
    expect(await copy.psql('SELECT a FROM t')).toBe('1')
    await copy.stop()
  })
})
