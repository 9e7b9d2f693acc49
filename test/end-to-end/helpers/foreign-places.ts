import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { roomFor, startCluster } from '../../helpers/postgres.js'
import { clusterPlace, SOURCE } from './cluster.js'
import { makeDatabase } from './database.js'
import { giveToNobody, nobody, openRoom, victimOf, whileExchanging } from './exchanger.js'
import { honest } from './foreign-runs.js'
import { place } from './place.js'
import { type Finished, run } from './run.js'
import { walPlace } from './wal-place.js'

function expectHonest({ code, stderr }: Finished, also: readonly number[] = []): void {
  expect([...honest, ...also], stderr).toContain(code)
}

/**
 * Restores a cluster with a tablespace to new directories and in place, and takes that back, where the server's user
 * exchanges what is staged.
 */
export async function restoreClusterBeside(times: number): Promise<void> {
  const cluster = await startCluster({ lean: true })
  const at = clusterPlace(cluster, { more: [`data_directory: ${cluster.directory}`] })
  const withoutIt = await at.backUp('full')
  const fast = roomFor(cluster, 'fast')
  await cluster.psql(`CREATE TABLESPACE fast LOCATION '${fast}'`)
  await cluster.psql('CREATE TABLE far TABLESPACE fast AS SELECT generate_series(1, 100) AS n')
  await at.backUp('full')
  await cluster.stop()
  const foreign = roomFor(cluster, 'foreign')
  const victim = victimOf(openRoom())
  const before = victim.picture()
  const room = readdirSync(cluster.room).filter(name => name !== 'foreign')
  await whileExchanging(
    victim,
    [foreign, cluster.room],
    [...room, 'foreign'],
    async () => {
      for (let time = 0; time < times; time += 1) {
        const to = (name: string) => join(foreign, `${name}-${time}`)
        const beside = ['--tablespace-map', `${fast}=${to('fast')}`, '--waldir', to('wal'), '--to', to('data')]
        expectHonest(await at.run('restore', [SOURCE, ...beside]))
        expectHonest(await at.run('restore', [withoutIt.id, '--in-place', '--confirm', SOURCE]))
        expectHonest(await at.run('restore', [SOURCE, '--rollback', '--confirm', SOURCE]))
      }
    },
    cluster,
  )
  expect(victim.picture()).toEqual(before)
}

/** Archives and fetches WAL where the owner of `pg_wal`, of the repository and of TMPDIR exchanges what is made there. */
export async function archiveWalBeside(times: number): Promise<void> {
  const at = await walPlace({ owner: nobody })
  const names = at.ready(Array.from({ length: Math.min(times, 100) }, (_, index) => index + 1))
  const victim = victimOf(openRoom())
  const before = victim.picture()
  const wal = join(at.data, 'pg_wal')
  const kept = ['nexus-backup.json', 'SHA256SUMS', 'recover.mjs', 'RECOVER.txt']
  await whileExchanging(victim, [wal, at.repository, at.temporary], kept, async () => {
    for (let time = 0; time < times; time += 1) {
      const name = names[time % names.length] ?? ''
      const root = { uid: 0, gid: 0 }
      const archived = await at.archiveSegment(name, root)
      expectHonest(archived, [6])
      const words = ['--config', at.config, 'pitr', 'fetch', name, 'pg_wal/RECOVERYXLOG']
      const { code, stderr } = await at.call(words, root)
      expect(code === 0 || code === 5 || (code ?? 0) >= 126, `${code} ${stderr}`).toBe(true)
    }
  })
  expect(victim.picture()).toEqual(before)
}

/** Makes repositories and keys in directories whose owner exchanges them. */
export async function makeInForeignPlaces(times: number): Promise<void> {
  const room = openRoom()
  const at = place(join(room, 'app'), { repository: join(room, 'repository') })
  await makeDatabase(at.database)
  const foreign = join(room, 'foreign')
  mkdirSync(foreign)
  giveToNobody(foreign)
  const victim = victimOf(room)
  const before = victim.picture()
  await whileExchanging(victim, [foreign], [], async () => {
    for (let time = 0; time < times; time += 1) {
      const [repository, key] = [join(foreign, `repository-${time}`), join(foreign, `key-${time}`)]
      const on = ['--repo', repository, '--state', join(foreign, `state-${time}`)]
      const created = await run(['keys', 'create', key])
      expectHonest(created, [2])
      const words = ['create', '--sqlite', at.database, ...on, '--init', '--owner', 'nobody', '--wait', '0']
      expectHonest(await run(existsSync(key) ? [...words, '--key-file', key] : words), [6, 7])
      const keyed = [...on, '--key-file', key, '--wait', '0']
      for (const verb of [['rotate'], ['list'], ['test'], ['add', `key-file=${key}`]]) {
        expectHonest(await run(['keys', ...verb, ...keyed]), [6, 7])
      }
      expectHonest(await run(['list', '--journal', ...on]))
    }
  })
  expect(victim.picture()).toEqual(before)
}
