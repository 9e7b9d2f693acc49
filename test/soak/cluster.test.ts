import { beforeAll, describe, it, vi } from 'vitest'
import { fill } from '../end-to-end/helpers/cluster.js'
import { proveChain } from '../end-to-end/helpers/cluster-chain.js'
import { clusterChain, flipCluster } from '../end-to-end/helpers/cluster-flips.js'
import { killClusterCreates } from '../end-to-end/helpers/cluster-kills.js'
import { makeTablespaces } from '../end-to-end/helpers/tablespaces.js'
import { startCluster, type TestCluster } from '../helpers/postgres.js'

vi.mock(import('../../src/repository/proofs.js'), async original => {
  return { ...(await original()), writeProof: async () => {} }
})

let plain: TestCluster
let spread: TestCluster
beforeAll(async () => {
  plain = await startCluster()
  spread = await startCluster()
  await fill(plain, 1)
  await makeTablespaces(spread)
})

describe('SIGKILL at dozens of moments', () => {
  it('of a full of a cluster', () => killClusterCreates(plain, 'full', 30))
  it('of an incr of a cluster', () => killClusterCreates(plain, 'incr', 30))
  it('of a full of a cluster with tablespaces', () => killClusterCreates(spread, 'full', 30))
  it('of an incr of a cluster with tablespaces', () => killClusterCreates(spread, 'incr', 30))
}, 3_600_000)

describe('a chain under load', () => {
  it('gives every one of its points back', () => proveChain({ started: ['full', 'diff', 'incr'], rounds: 4 }))
}, 3_600_000)

describe('verify of a cluster’s chain', () => {
  it('finds hundreds of flipped bytes', async () => flipCluster(await clusterChain(plain), 40))
}, 3_600_000)
