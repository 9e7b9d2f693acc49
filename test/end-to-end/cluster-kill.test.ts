import { constants } from 'node:os'
import { beforeAll, describe, expect, it } from 'vitest'
import { startCluster, type TestCluster } from '../helpers/postgres.js'
import { backupsIn, clusterPlace, fill, helpersOf, manifestOf, SOURCE } from './helpers/cluster.js'
import { expectNothingHalfMade, expectNothingRuns, expectSound, killClusterCreates } from './helpers/cluster-kills.js'
import { lockHeld } from './helpers/lock.js'
import type { Running } from './helpers/run.js'
import { makeTablespaces } from './helpers/tablespaces.js'

let plain: TestCluster
let spread: TestCluster
beforeAll(async () => {
  ;[plain, spread] = await Promise.all([startCluster({ lean: true }), startCluster({ initdb: ['--wal-segsize=1'] })])
  await Promise.all([fill(plain, 1), makeTablespaces(spread)])
})

// A few moments of each kind; test/soak/cluster.test.ts takes dozens.
describe('SIGKILL at any moment', () => {
  it('of an incr of a cluster leaves no program, no slot and no damage, and the next run works', () =>
    killClusterCreates(plain, 'incr', 2))

  it('of a full of a cluster with tablespaces does neither', () => killClusterCreates(spread, 'full', 2))
})

/** Until pg_basebackup works for it. */
async function atWork(running: Running, cluster: TestCluster): Promise<void> {
  let ended = false
  running.done.then(() => {
    ended = true
  })
  while (!helpersOf(cluster).some(line => line.includes('pg_basebackup'))) {
    if (ended) throw new Error('it ended before it could be interrupted')
    await new Promise(resolve => setImmediate(resolve))
  }
}

describe('SIGTERM', () => {
  it.each([
    ['of a cluster', () => plain],
    ['of a cluster with tablespaces', () => spread],
  ])('stops a create %s, which has cleaned up everything when it ends with 143', async (_, cluster) => {
    const at = clusterPlace(cluster())
    const running = at.start('create', ['--init'])
    await atWork(running, cluster())
    running.child.kill('SIGTERM')
    const { code, signal, stdout, stderr } = await running.done
    const status = signal === null ? code : 128 + constants.signals[signal]
    expect({ status, stdout, stderr }).toMatchObject({ status: 143, stdout: '' })
    expect(helpersOf(cluster())).toEqual([])
    expectNothingHalfMade(at)
    expect(backupsIn(at)).toEqual([])
    await expectNothingRuns(cluster())
  })
})

describe('two creates at once', () => {
  it('of one cluster: who does not wait ends with 6, who waits comes after the other, and all are whole', async () => {
    const at = clusterPlace(plain)
    await at.backUp('full')
    const holder = await lockHeld(at, 'writer', 'exclusive', `create ${SOURCE}`, SOURCE)
    const waiting = [1, 2].map(() => at.json('create', ['--type', 'incr', '--wait', '60']))
    const refused = await at.json('create', ['--type', 'incr'])
    expect(refused).toMatchObject({ code: 6, error: { error: { code: 'locked', exit_code: 6 } } })
    expect(refused.error.error.message).toContain(`create ${SOURCE} (user tester, process ${holder.child.pid}`)
    holder.child.kill('SIGKILL')
    expect((await Promise.all(waiting)).map(({ code }) => code)).toEqual([0, 0])
    const chain = backupsIn(at).map(id => manifestOf(at, id))
    const inOrder = chain.sort((a, b) => a.sequence - b.sequence)
    expect(inOrder.map(({ type, sequence }) => [type, sequence])).toEqual([
      ['full', 1],
      ['incr', 2],
      ['incr', 3],
    ])
    expect(inOrder.map(({ parent }) => parent)).toEqual([null, ...inOrder.slice(0, 2).map(({ id }) => id)])
    await expectSound(at)
    await expectNothingRuns(plain)
  })
})
