import { describe, expect, it, vi } from 'vitest'
import { cutShort, flipBytes, storedFiles, takeAway, verifyAll } from '../end-to-end/helpers/damage.js'
import { sharedPool, smallRepository } from '../end-to-end/helpers/small-repository.js'

vi.mock(import('../../src/repository/proofs.js'), async original => {
  return { ...(await original()), writeProof: async () => {} }
})

describe('verify', () => {
  it('finds every single flipped, missing and cut-off byte, without exception', async () => {
    const at = await smallRepository()
    const { repository } = at
    const { context, stop } = sharedPool(at)
    for (const file of storedFiles(repository)) {
      await flipBytes(context, repository, file, 1)
      await cutShort(context, repository, file, 1)
      // Proofs are files of their own and nothing names them: that one is gone can only the journal know.
      if (!file.includes('/proofs/')) await takeAway(context, repository, file)
    }
    expect((await verifyAll(context, repository)).map(({ status }) => status)).toEqual(['ok', 'ok', 'ok', 'ok'])
    await stop()
  })
}, 3_600_000)
