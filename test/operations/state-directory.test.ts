import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { expect, test } from 'vitest'
import { withStateScratch } from '../../src/operations/state-directory.js'
import { temporaryDirectory } from '../helpers/temporary.js'

test('scratch is gone when the work ends, and so is what killed runs of this machine left; of others a day later', async () => {
  const state = temporaryDirectory()
  const scratch = join(state, 'scratch')
  const dead = 2 ** 22 + 1
  const [, machine = ''] = await withStateScratch(state, async path => basename(path).split('-'))
  const days = {
    [`${dead}-${machine}-${'d'.repeat(16)}`]: 0,
    [`${dead}-${'a'.repeat(16)}`]: 2,
    [`${dead}-${'b'.repeat(16)}`]: 0,
    [`${dead}-00000000-${'e'.repeat(16)}`]: 0,
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
    expect(basename(path)).toMatch(/^\d+-[0-9a-f]{8}-[0-9a-f]{16}$/)
    return path
  })
  expect(existsSync(used)).toBe(false)
  expect(readdirSync(scratch).sort()).toEqual(Object.keys(days).slice(2).sort())
  await expect(withStateScratch(state, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(readdirSync(scratch)).toHaveLength(4)
})

test('a state directory that is full or of no use is named', async () => {
  const state = temporaryDirectory()
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
  const failing = withStateScratch(state, () => Promise.reject(full))
  await expect(failing).rejects.toMatchObject({ code: 'disk_full', message: expect.stringContaining(state) })
  writeFileSync(join(state, 'file'), '')
  const inVain = withStateScratch(join(state, 'file'), async () => {})
  await expect(inVain).rejects.toMatchObject({ code: 'state_unusable', hint: expect.stringContaining('--state') })
})

test('scratch of runs that begin and end at the same time is in nobody’s way, and its place is gone afterwards', async () => {
  const state = temporaryDirectory()
  const paths = await Promise.all(
    Array.from({ length: 50 }, () =>
      withStateScratch(state, async scratch => {
        writeFileSync(join(scratch, 'copy.db'), 'x')
        return scratch
      }),
    ),
  )
  expect(new Set(paths).size).toBe(50)
  expect(readdirSync(state)).toEqual([])
})
