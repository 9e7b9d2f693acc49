import { cpSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { TestCluster } from '../../helpers/postgres.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { clusterPlace, SOURCE } from './cluster.js'
import { flipBytes, verifyAll } from './damage.js'
import { sharedPool } from './small-repository.js'

/** A repository with a full and an incr of a cluster, and their ids. */
export interface ClusterChain {
  repository: string
  ids: string[]
}

export async function clusterChain(cluster: TestCluster): Promise<ClusterChain> {
  const at = clusterPlace(cluster)
  const backups = [await at.backUp('full'), await at.backUp('incr')]
  return { repository: at.repository, ids: backups.map(({ id }) => id) }
}

/**
 * Flips bytes spread over every part, one at a time: verify must find each, and name the backups that it takes down.
 * The caller keeps proofs from being written.
 * @param times how many times more than a few
 */
export async function flipCluster(chain: ClusterChain, times: number): Promise<void> {
  const repository = join(temporaryDirectory(), 'repository')
  cpSync(chain.repository, repository, { recursive: true })
  const { context, stop } = sharedPool()
  const [full = '', incr = ''] = chain.ids
  for (const [id, part, flips] of [
    [full, 'base.tar.zst', 12],
    [full, 'blocks.idx', 8],
    [full, 'tree.jsonl.zst', 8],
    [incr, 'blocks.zst', 4],
    [incr, 'blocks.idx', 4],
    [incr, 'tree.jsonl.zst', 6],
  ] as const) {
    const name = `${SOURCE}/${id}/${part}`
    const stride = Math.ceil(statSync(join(repository, name)).size / (flips * times))
    expect(await flipBytes(context, repository, name, stride)).toBeGreaterThan(1)
  }
  expect((await verifyAll(context, repository)).map(({ status }) => status)).toEqual(['ok', 'ok'])
  await stop()
}
