import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { expect, test } from 'vitest'
import { withStateScratch } from '../../src/operations/state-directory.js'
import { temporaryDirectory } from '../helpers/temporary.js'

test('scratch is gone when the work ends, and what killed runs left goes a day later', async () => {
  const state = temporaryDirectory()
  const scratch = join(state, 'scratch')
  const dead = 2 ** 22 + 1
  const days = {
    [`${dead}-${'a'.repeat(16)}`]: 2,
    [`${dead}-${'b'.repeat(16)}`]: 0,
    [`${process.pid}-${'c'.repeat(16)}`]: 2,
    mine: 2,
  }
  for (const [name, age] of Object.entries(days)) {
    mkdirSync(join(scratch, name), { recursive: true })
    writeFileSync(join(scratch, name, 'copy.db'), 'x')
    const then = new Date(Date.now() - age * 86_400_000)
    utimesSync(join(scratch, name), then, then)
  }
  const used = await withStateScratch(state, async path => {
    expect(basename(path)).toMatch(/^\d+-[0-9a-f]{16}$/)
    return path
  })
  expect(existsSync(used)).toBe(false)
  expect(readdirSync(scratch).sort()).toEqual(Object.keys(days).slice(1).sort())
  await expect(withStateScratch(state, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(readdirSync(scratch)).toHaveLength(3)
})
