import { describe, expect, it } from 'vitest'
import { knownDigests } from '../../src/repository/recovery-editions.js'
import { sha256Of } from '../../src/repository/root-files.js'
import { recoveryFiles } from '../../src/repository/root-making.js'
import { editionOf, isLater } from '../../src/repository/root-trust.js'

describe('the files that recover a repository', () => {
  it('are known by their digests: add those of a changed one to recovery-editions.ts, and never take one away', async () => {
    for (const [name, bytes] of await recoveryFiles()) expect(knownDigests[name]).toContain(sha256Of(bytes))
    expect(knownDigests['recover.mjs']).toHaveLength(14)
    expect(new Set(Object.values(knownDigests).flat()).size).toBe(Object.values(knownDigests).flat().length)
  })

  it('belong together: RECOVER.txt says the SHA-256 of recover.mjs', async () => {
    const files = await recoveryFiles()
    const text = files.get('RECOVER.txt')?.toString() ?? ''
    expect(text).toContain(`     ${sha256Of(files.get('recover.mjs') ?? Buffer.alloc(0))}\n`)
  })

  it('have an edition that is bounded', async () => {
    const ours = editionOf((await recoveryFiles()).get('recover.mjs'))
    expect(ours).toBeGreaterThanOrEqual(3)
    expect(isLater(ours + 1, ours)).toBe(true)
    for (const edition of [ours, ours - 1, 0, ours + 101, 999_999])
      expect(isLater(edition, ours), `${edition}`).toBe(false)
    expect(editionOf(Buffer.from('// edition 9999999\n'))).toBe(0)
  })
})
