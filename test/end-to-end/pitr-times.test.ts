import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { majorIn, startCluster } from '../helpers/postgres.js'
import { SOURCE } from './helpers/cluster.js'
import { type CommitClock, commitClock, expectCommits, randomTimes } from './helpers/commit-clock.js'
import { archived } from './helpers/recovery.js'

let clock: CommitClock

it('a cluster commits while it is backed up, leaves its timeline and is backed up again', async () => {
  clock = await commitClock(200)
})

describe('a copy restored to a microsecond', () => {
  it.each([
    0, 1, 2, 3, 4, 5,
  ])('holds exactly the commits not after it, across a timeline and two backups: %i', async round => {
    const [at = ''] = randomTimes(clock.commits, round + 1).slice(-1)
    await expectCommits(clock, at)
  })

  it('holds the transaction whose time was pasted, in every form that is printed', async () => {
    const { place, commits } = clock
    const { xid, at } = commits[Math.floor(commits.length / 2)] ?? { xid: 0, at: '' }
    const forms = [at, at.replace('T', ' ').replace('Z', ' UTC'), at.replace('T', ' ').replace('Z', '+00')]
    for (const form of forms) {
      const { document } = await place.json('pitr restore', [
        SOURCE,
        '--at',
        form,
        '--to',
        join(place.directory, 'none'),
        '--dry-run',
      ])
      expect(document.plan.last_commit).toMatchObject({ xid: String(xid), at })
      expect(document.plan.recovery_target).toBe(`recovery_target_lsn = '${document.plan.last_commit.lsn}'`)
    }
  })
})

describe('a database that was dropped', () => {
  it('comes back with the time before, with --before of the transaction, and of its time', async () => {
    const { cluster, place } = clock
    const strategy = majorIn(cluster.bin) >= 15 ? 'STRATEGY file_copy' : ''
    await cluster.psql(`CREATE DATABASE shop TEMPLATE postgres ${strategy}`)
    await cluster.psql('CREATE TABLE sold AS SELECT 42 AS amount', 'shop')
    const before = await cluster.psql('SELECT clock_timestamp()')
    await cluster.psql('DROP DATABASE shop')
    await cluster.psql('INSERT INTO ticks DEFAULT VALUES')
    await archived(cluster, place)
    const plan = async (args: string[]) => {
      const to = join(place.directory, 'none')
      return (await place.json('pitr restore', [SOURCE, ...args, '--to', to, '--dry-run'])).document.plan
    }
    const at = await plan(['--at', before])
    const { xid, at: dropped } = at.next_commit
    expect(at.notes).toEqual([])
    expect((await plan(['--xid', xid, '--before'])).last_commit).toEqual(at.last_commit)
    expect((await plan(['--at', dropped, '--before'])).last_commit).toEqual(at.last_commit)
    expect((await plan(['--at', dropped])).last_commit).toEqual(at.next_commit)
    const to = join(place.directory, 'with-shop')
    await place.ok('pitr restore', [SOURCE, '--at', before, '--to', to, '--start', '--stop'])
    const copy = await startCluster({ directory: to })
    expect(await copy.psql('SELECT amount FROM sold', 'shop')).toBe('42')
    await copy.stop()
  })

  it('is in no window that is not there: every printed end of one is accepted', async () => {
    const { place } = clock
    const { document } = await place.json('pitr points', [SOURCE])
    const [{ from, to }] = document.windows
    expect(to).toMatch(/\.\d{6}Z$/)
    for (const at of [from, to]) {
      await place.ok('pitr restore', [SOURCE, '--at', at, '--to', join(place.directory, 'none'), '--dry-run'])
    }
    const { stdout } = await place.ok('pitr points', [SOURCE])
    const printed = stdout.match(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \S+/g) ?? []
    expect(printed.length).toBeGreaterThan(1)
    for (const at of printed) {
      await place.ok('pitr restore', [SOURCE, '--at', at, '--to', join(place.directory, 'none'), '--dry-run'])
    }
  })
})
