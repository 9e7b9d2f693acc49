import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { NexusError } from '../../src/errors.js'
import { formatChecksums, parseChecksums } from '../../src/repository/checksums.js'
import { initRepository } from '../../src/repository/open.js'
import { checkRootFiles, sha256Of } from '../../src/repository/root-files.js'
import { isKept, renewRecovery } from '../../src/repository/root-renewal.js'
import type { Storage } from '../../src/repository/storage/storage.js'
import { temporaryDirectory } from '../helpers/temporary.js'

/** A repository without keys. */
const nobody = async () => null

const scripts = ['RECOVER.txt', 'recover.mjs']

/** A repository whose recovery files are those of another program. */
async function withOld(script = '// old\n') {
  const path = temporaryDirectory()
  const { storage } = await initRepository(path, { now: new Date(0) })
  const read = (name: string) => readFileSync(join(path, name))
  const ours = scripts.map(read)
  writeFileSync(join(path, 'recover.mjs'), script)
  writeFileSync(join(path, 'RECOVER.txt'), 'old')
  const names = ['RECOVER.txt', 'nexus-backup.json', 'recover.mjs']
  const sum = () =>
    writeFileSync(join(path, 'SHA256SUMS'), formatChecksums(new Map(names.map(name => [name, sha256Of(read(name))]))))
  sum()
  return { path, storage, read, ours, sum }
}

/** The storage, that says no from a write on. */
function refusingFrom(storage: Storage, write: number): Storage {
  let writes = 0
  return new Proxy(storage, {
    get(target, name) {
      const value = Reflect.get(target, name)
      if (name !== 'replace') return typeof value === 'function' ? value.bind(target) : value
      return async (file: string, bytes: Uint8Array) => {
        if (writes++ >= write) throw new NexusError('failed', 'repository_permission', 'no')
        await target.replace(file, bytes)
      }
    },
  })
}

describe('recovery files of an older program', () => {
  test('are replaced, and the checksums with them; a second time nothing is written', async () => {
    const { storage, read, ours } = await withOld()
    expect(await checkRootFiles(storage)).toEqual([])
    await renewRecovery(storage, nobody)
    expect(scripts.map(read)).toEqual(ours)
    expect(await checkRootFiles(storage)).toEqual([])
    await renewRecovery(refusingFrom(storage, 0), nobody)
  })

  test.each([0, 1, 2])('interrupted after %i writes are renewed by the next run', async write => {
    const { storage, read, ours } = await withOld()
    const error = await renewRecovery(refusingFrom(storage, write), nobody).catch((reason: unknown) => reason)
    expect(isKept(error)).toBe(true)
    await renewRecovery(storage, nobody)
    expect(scripts.map(read)).toEqual(ours)
    expect(await checkRootFiles(storage)).toEqual([])
  })

  test('do not hide that nexus-backup.json was changed', async () => {
    const { path, storage, read } = await withOld()
    const sum = parseChecksums(read('SHA256SUMS'), '').get('nexus-backup.json')
    writeFileSync(join(path, 'nexus-backup.json'), `${read('nexus-backup.json')}\n`)
    await renewRecovery(storage, nobody)
    expect(parseChecksums(read('SHA256SUMS'), '').get('nexus-backup.json')).toBe(sum)
    expect(await checkRootFiles(storage)).toMatchObject([{ part: 'nexus-backup.json' }])
  })

  test.each([
    ['a later edition', '// a later one\n// edition 99\n', true],
    ['an absurd one', '// edition 999999\n', false],
    ['our own number and other bytes', '// edition 3\n', false],
    ['a number of before and other bytes', '// edition 1\n', false],
    ['no number', 'process.exit()\n', false],
  ])('with %s stay or go', async (_what, script, stays) => {
    const { storage, read, ours, sum } = await withOld(script)
    sum()
    await renewRecovery(storage, nobody)
    expect(read('recover.mjs').toString() === script).toBe(stays)
    if (!stays) expect(scripts.map(read)).toEqual(ours)
    expect(await checkRootFiles(storage)).toEqual([])
  })

  test('of a later edition stay in a repository with keys only where somebody who counts has signed them', async () => {
    const { storage, read, ours } = await withOld('// edition 99\n')
    const later = read('recover.mjs')
    await renewRecovery(storage, async () => [{ 'recover.mjs': sha256Of(later) }])
    expect(read('recover.mjs').equals(later)).toBe(true)
    await renewRecovery(storage, async () => [{ 'recover.mjs': sha256Of(Buffer.from('another')) }])
    expect(scripts.map(read)).toEqual(ours)
  })

  test('are renewed where the checksums cannot be read, and vouch for nexus-backup.json no more', async () => {
    const { path, storage, read, ours } = await withOld()
    writeFileSync(join(path, 'SHA256SUMS'), 'nonsense')
    await renewRecovery(storage, nobody)
    expect(scripts.map(read)).toEqual(ours)
    expect(await checkRootFiles(storage)).toMatchObject([{ part: 'nexus-backup.json' }])
  })
})
