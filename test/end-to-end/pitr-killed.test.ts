import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { startCluster, type TestCluster } from '../helpers/postgres.js'
import { type ClusterPlace, clusterPlace, contentOf, fill, ownedBy, SOURCE } from './helpers/cluster.js'
import type { Running } from './helpers/run.js'
import { canMount, smallDisk } from './helpers/small-disk.js'
import { makeTablespaces } from './helpers/tablespaces.js'

/** Names that begin with a dot, in a directory. */
const hidden = (directory: string) => readdirSync(directory).filter(name => name.startsWith('.'))

/** Kills a restore while it writes the data directory: something that belongs there is staged. */
async function killedAtWork(running: Running, directory: string): Promise<void> {
  // Where the server's user could exchange what is staged, it lies in a directory that only root can enter.
  const isAtWork = () =>
    hidden(directory).some(name => {
      const staged = join(directory, name)
      if (statSync(staged, { throwIfNoEntry: false })?.isDirectory() !== true) return false
      return [staged, ...readdirSync(staged).map(inner => join(staged, inner))].some(at => existsSync(join(at, 'base')))
    })
  while (!isAtWork()) {
    if (running.child.exitCode !== null) throw new Error('it ended before it could be killed')
    await setImmediate()
  }
  running.child.kill('SIGKILL')
  expect((await running.done).signal).toBe('SIGKILL')
}

async function backedUp(
  more: (cluster: TestCluster) => string[],
): Promise<{ cluster: TestCluster; place: ClusterPlace }> {
  const cluster = await startCluster({ initdb: ['--wal-segsize=1'] })
  await fill(cluster, 3)
  const place = clusterPlace(cluster, { more: more(cluster) })
  return { cluster, place }
}

it('a restore of a cluster that was killed leaves nothing behind once it is run again', async () => {
  const { cluster, place } = await backedUp(() => [])
  const from = await makeTablespaces(cluster)
  await place.backUp('full')
  const to = join(place.directory, 'copy')
  const map = (['fast', 'slow'] as const).flatMap(name => [
    '--tablespace-map',
    `${from[name]}=${join(place.directory, name)}`,
  ])
  const args = [SOURCE, '--to', to, ...map]
  await killedAtWork(place.start('restore', args), place.directory)
  expect(hidden(place.directory).length).toBeGreaterThan(1)
  expect(existsSync(to)).toBe(false)

  const { stderr } = await place.ok('restore', args)
  expect(stderr).toContain('an earlier restore was killed')
  expect(hidden(place.directory)).toEqual([])
  const copy = await startCluster({ directory: to })
  expect(await contentOf(copy)).toEqual(await contentOf(cluster))
  await copy.stop()
})

it.skipIf(!canMount)('neither does one into a mount point, where what it makes lies inside', async () => {
  const { cluster, place } = await backedUp(() => [])
  await place.backUp('full')
  const to = smallDisk(join(place.directory, 'mounted'), 800_000_000)
  const args = [SOURCE, '--to', to]
  await killedAtWork(place.start('restore', args), to)
  expect(hidden(to).length).toBeGreaterThan(1)
  writeFileSync(join(to, 'somebody’s'), 'not ours')
  const refused = await place.json('restore', args)
  expect([refused.code, refused.error.error.code]).toEqual([8, 'target_exists'])
  expect(hidden(to).length).toBeGreaterThan(1)
  rmSync(join(to, 'somebody’s'))
  const { stderr } = await place.ok('restore', args)
  expect(stderr).toContain('an earlier restore was killed')
  expect(hidden(to)).toEqual([])
  const copy = await startCluster({ directory: to })
  expect(await contentOf(copy)).toEqual(await contentOf(cluster))
  await copy.stop()
})

it('neither does one in place, and the live cluster is as it was', async () => {
  const { cluster, place } = await backedUp(({ directory }) => [`data_directory: ${directory}`])
  // The server asks the archive for what follows: its user must be able to.
  await place.backUp('full', ownedBy(cluster))
  const content = await contentOf(cluster)
  await cluster.stop()
  const beside = dirname(cluster.directory)
  const before = hidden(beside)
  const args = [SOURCE, '--in-place', '--confirm', SOURCE]
  await killedAtWork(place.start('restore', args), beside)
  expect(hidden(beside).length).toBeGreaterThan(before.length)
  await place.ok('restore', args)
  expect(hidden(beside)).toEqual(before)
  expect(readdirSync(beside).filter(name => name.startsWith(basename(cluster.directory)))).toHaveLength(2)
  await cluster.start()
  expect(await contentOf(cluster)).toEqual(content)
})
