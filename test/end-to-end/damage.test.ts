import { describe, expect, it, vi } from 'vitest'
import { inBucket } from '../helpers/repository-kind.js'
import { cutShort, flipBytes, storedFiles, takeAway, verifyAll } from './helpers/damage.js'
import { sharedPool, smallRepository } from './helpers/small-repository.js'

vi.mock(import('../../src/repository/proofs.js'), async original => {
  return { ...(await original()), writeProof: async () => {} }
})

// test/soak/damage.test.ts takes every byte. recover.mjs is most of them, and one SHA-256 covers it as a whole.
// A server takes ten times as long as a directory to answer.
const sparser = inBucket ? 8 : 1
const strideOf = (file: string) => (file === 'recover.mjs' ? 997 : file.endsWith('.txt') ? 101 : 13) * sparser

describe('verify', () => {
  it('finds every flipped, missing and cut-off byte, and names the backups that it takes down', async () => {
    const at = await smallRepository()
    const { repository } = at
    const { context, stop } = sharedPool(at)
    expect((await verifyAll(context, repository)).flatMap(({ findings }) => findings)).toEqual([])
    const files = storedFiles(repository)
    expect(files).toHaveLength(4 + 1 + 4 * 4 + 4)
    let flipped = 0
    for (const file of files) {
      flipped += await flipBytes(context, repository, file, strideOf(file))
      await cutShort(context, repository, file, strideOf(file) * 7)
      // Proofs are files of their own and nothing names them: that one is gone can only the journal know.
      if (!file.includes('/proofs/')) await takeAway(context, repository, file)
    }
    expect(flipped).toBeGreaterThan(650 / sparser)
    expect((await verifyAll(context, repository)).flatMap(({ findings }) => findings)).toEqual([])
    await stop()
  })
})
