import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, it, vi } from 'vitest'
import { LocalStorage } from '../../../src/repository/storage/local.js'
import { faults, hasDied, mend } from '../../helpers/failing-fs.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

vi.mock('node:fs', async original => (await import('../../helpers/failing-fs.js')).failingSync(await original()))
vi.mock('node:fs/promises', async original =>
  (await import('../../helpers/failing-fs.js')).failingPromises(await original()),
)

afterEach(mend)

const segment = Buffer.alloc(100_000, 'segment')
const name = 'itsm/wal/1/000000010000000000000001.zst'

async function newStorage() {
  const path = temporaryDirectory()
  return { storage: await LocalStorage.open(path), file: join(path, name), directory: join(path, 'itsm/wal/1') }
}

it('writes once without hard links, and one of many at a time', async () => {
  const { storage, file } = await newStorage()
  faults.links = false
  const all = await Promise.allSettled(
    Array.from({ length: 20 }, (_, n) => storage.writeOnce(name, Buffer.from(`${n}`))),
  )
  const winners = all.flatMap((result, n) => (result.status === 'fulfilled' ? [`${n}`] : []))
  expect(winners).toEqual([readFileSync(file, 'utf8')])
  await expect(storage.writeOnce(name, segment)).rejects.toMatchObject({ code: 'exists' })
})

it.each([
  { links: false },
  { links: true },
])('holds the whole file or none wherever it is killed, links: $links', async ({ links }) => {
  for (let at = 1; ; at += 1) {
    const { storage, file, directory } = await newStorage()
    Object.assign(faults, { links, dieAt: at, calls: 0 })
    await storage.writeOnce(name, segment).catch(() => {})
    if (!hasDied()) break
    Object.assign(faults, { dieAt: Number.POSITIVE_INFINITY })
    if (existsSync(file)) {
      expect(readFileSync(file).equals(segment), `killed at call ${at}`).toBe(true)
      await expect(storage.writeOnce(name, segment)).rejects.toMatchObject({ code: 'exists' })
    } else {
      await storage.writeOnce(name, segment)
      expect(readFileSync(file).equals(segment), `killed at call ${at}`).toBe(true)
    }
    await storage.removeLeftovers('itsm/wal/1')
    expect(readdirSync(directory)).toEqual(['000000010000000000000001.zst'])
  }
})

it('leaves the final name free on a disk that fills up', async () => {
  for (let at = 1; ; at += 1) {
    const { storage, file, directory } = await newStorage()
    Object.assign(faults, { links: false, fullAt: at, writes: 0 })
    const outcome = await storage.writeOnce(name, segment).catch((error: unknown) => error)
    if (faults.writes < at) break
    expect(outcome).toMatchObject({ code: 'repository_full' })
    expect([existsSync(file), readdirSync(directory)], `full at write ${at}`).toEqual([false, []])
    faults.fullAt = Number.POSITIVE_INFINITY
    await storage.writeOnce(name, segment)
    expect(readFileSync(file).equals(segment)).toBe(true)
  }
})
