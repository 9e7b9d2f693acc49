import { join } from 'node:path'
import { expect } from 'vitest'
import type { TestCluster } from '../../helpers/postgres.js'
import { partName, type TestRepository, testRepository } from '../../helpers/repository-kind.js'
import { storedIn } from '../../helpers/stored.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { clusterPlace, SOURCE } from './cluster.js'
import { flipBytes, verifyAll } from './damage.js'
import { sharedPool } from './small-repository.js'

/** A repository with a full and an incr of a cluster, and their ids. */
export interface ClusterChain extends TestRepository {
  ids: string[]
  /** The state directory of the host that made them. */
  state: string
}

export async function clusterChain(cluster: TestCluster): Promise<ClusterChain> {
  const at = clusterPlace(cluster)
  const backups = [await at.backUp('full'), await at.backUp('incr')]
  return { repository: at.repository, keyFile: at.keyFile, state: at.state, ids: backups.map(({ id }) => id) }
}

/**
 * Flips bytes spread over every part, one at a time: verify must find each, and name the backups that it takes down.
 * The caller keeps proofs from being written.
 * @param times how many times more than a few
 */
export async function flipCluster(chain: ClusterChain, times: number): Promise<void> {
  const directory = temporaryDirectory()
  const { repository } = testRepository(join(directory, 'repository'), join(directory, 'key'))
  const stored = storedIn(repository)
  storedIn(chain.repository).copyTo(repository)
  const { context, stop } = sharedPool(chain)
  const [full = '', incr = ''] = chain.ids
  for (const [id, part, flips] of [
    [full, 'base.tar.zst', 12],
    [full, 'blocks.idx', 8],
    [full, 'tree.jsonl.zst', 8],
    [incr, 'blocks.zst', 4],
    [incr, 'blocks.idx', 4],
    [incr, 'tree.jsonl.zst', 6],
  ] as const) {
    const name = `${SOURCE}/${id}/${partName(part)}`
    const stride = Math.ceil(stored.size(name) / (flips * times))
    expect(await flipBytes(context, repository, name, stride)).toBeGreaterThan(1)
  }
  expect((await verifyAll(context, repository)).map(({ status }) => status)).toEqual(['ok', 'ok'])
  await stop()
}
