import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { initRepository } from '../../src/repository/open.js'
import { checkRootFiles } from '../../src/repository/root-files.js'
import { temporaryDirectory } from '../helpers/temporary.js'

test('the root’s own files are compared with its SHA256SUMS, each finding names the file', async () => {
  const path = temporaryDirectory()
  const { storage } = await initRepository(path, { now: new Date(0) })
  expect(await checkRootFiles(storage)).toEqual([])
  for (const name of ['RECOVER.txt', 'recover.mjs', 'nexus-backup.json', 'SHA256SUMS']) {
    const file = join(path, name)
    const good = readFileSync(file)
    for (const bad of [Buffer.concat([good, Buffer.from('\n')]), good.subarray(1)]) {
      writeFileSync(file, bad)
      expect(await checkRootFiles(storage)).toMatchObject([{ part: name }])
    }
    rmSync(file)
    expect(await checkRootFiles(storage)).toMatchObject([
      { part: name, problem: expect.stringContaining('does not exist') },
    ])
    writeFileSync(file, good)
  }
})

test('two inits at once make one repository whose files agree', async () => {
  for (let round = 0; round < 5; round++) {
    const path = join(temporaryDirectory(), 'repo')
    const made = await Promise.all(Array.from({ length: 3 }, () => initRepository(path, { now: new Date(0) })))
    expect(new Set(made.map(({ id }) => id)).size).toBe(1)
    expect(await checkRootFiles((made[0] as (typeof made)[number]).storage)).toEqual([])
  }
})
