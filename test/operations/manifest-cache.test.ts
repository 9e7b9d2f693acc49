import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { list } from '../../src/operations/list.js'
import { reselect, selectBackup } from '../../src/operations/select.js'
import { loadHistory, surveyUsing } from '../../src/operations/survey.js'
import { formatChecksums } from '../../src/repository/checksums.js'
import { prettyJson } from '../../src/repository/json.js'
import { makeBackupId } from '../../src/repository/layout.js'
import type { Manifest } from '../../src/repository/manifest.js'
import { initRepository, openRepository } from '../../src/repository/open.js'
import { LocalStorage } from '../../src/repository/storage/local.js'
import { type BackupStamp, stampsIn } from '../../src/repository/unchanged.js'
import { testContext } from '../helpers/context.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { exampleManifest, sha256 } from '../repository/manifests.js'

/** A repository of so many backups, chains of ten, written without a sync; `cached` looks with a cache and `plain` without. */
async function history(backups: number) {
  const room = temporaryDirectory()
  const path = join(room, 'repository')
  await initRepository(path, { now: new Date('2025-11-01T00:00:00Z') })
  const source = join(path, 'itsm')
  const stateDirectory = join(room, 'state')
  mkdirSync(stateDirectory, { mode: 0o700 })
  // What was written just now has settled.
  const now = () => new Date(Date.now() + 60_000)
  const contexts = { cached: testContext({ stateDirectory, now }), plain: testContext({ now }) }
  const ids: string[] = []
  const put = (sequence: number, wishes: Partial<Manifest> = {}) => {
    const isFull = sequence % 10 === 1
    const at = new Date(Date.UTC(2025, 0, sequence))
    const id = makeBackupId(at, isFull ? 'full' : 'incr', '0000')
    const parent = isFull ? null : (ids[sequence - 2] ?? null)
    const facts = { device: 1, roots: ['/srv'], number: sequence }
    const type = isFull ? 'full' : 'incr'
    const bytes = prettyJson({ ...exampleManifest({ id, at, type, parent, sequence }), facts, ...wishes })
    mkdirSync(join(source, id), { recursive: true })
    writeFileSync(join(source, id, 'manifest.json'), bytes)
    writeFileSync(join(source, id, 'SHA256SUMS'), formatChecksums(new Map([['manifest.json', sha256(bytes)]])))
    ids[sequence - 1] = id
    return id
  }
  for (let sequence = 1; sequence <= backups; sequence += 1) put(sequence)
  const opened = async () => (await openRepository(path)).source('itsm')
  const looked = async (how: 'cached' | 'plain') =>
    (await loadHistory(contexts[how], await opened(), { cached: how === 'cached' })).entries
  const cacheFile = () => {
    const [repository = ''] = existsSync(join(stateDirectory, 'manifests'))
      ? readdirSync(join(stateDirectory, 'manifests'))
      : []
    return join(stateDirectory, 'manifests', repository, 'itsm.json')
  }
  return { path, source, stateDirectory, contexts, ids, put, opened, looked, cacheFile }
}

/** Names of what is read of manifests from now on. */
function manifestsRead(): string[] {
  const names: string[] = []
  const { readSmall } = LocalStorage.prototype
  vi.spyOn(LocalStorage.prototype, 'readSmall').mockImplementation(function (this: LocalStorage, name, limit) {
    if (name.endsWith('manifest.json')) names.push(name)
    return readSmall.call(this, name, limit)
  })
  return names
}

/** Changes a file where it lies, to as many bytes, with the time that it had. */
function tamper(path: string): void {
  const { atime, mtime } = statSync(path)
  const bytes = readFileSync(path)
  bytes[Math.floor(bytes.length / 2)] = 0x20 ^ (bytes[Math.floor(bytes.length / 2)] ?? 0)
  writeFileSync(path, bytes)
  utimesSync(path, atime, mtime)
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('manifests that an earlier run has read', () => {
  it('are not read again, but for those that came and those that changed', async () => {
    const at = await history(40)
    await at.looked('cached')
    const read = manifestsRead()
    expect((await at.looked('cached')).map(({ status }) => status)).toEqual(Array(40).fill('ok'))
    expect(read).toEqual([])
    const added = at.put(41)
    const changed = at.put(7, { label: 'other' })
    const entries = await at.looked('cached')
    expect(read.sort()).toEqual([changed, added].map(id => `itsm/${id}/manifest.json`))
    expect(entries.map(entry => entry.status === 'ok' && entry.manifest)).toEqual(
      (await at.looked('plain')).map(entry => entry.status === 'ok' && entry.manifest),
    )
  })

  it('are read again by whoever does not ask for less, and of a chain that is used', async () => {
    const at = await history(40)
    await at.looked('cached')
    const read = manifestsRead()
    const { cached } = at.contexts
    const selected = await selectBackup(cached, [{ name: 'local', path: at.path }], { backup: at.ids[24] ?? '' })
    expect(read).toEqual([])
    await reselect(cached, selected)
    const chain = at.ids.slice(20, 25).map(id => `itsm/${id}/manifest.json`)
    expect(read.sort()).toEqual(chain)
    read.length = 0
    await loadHistory(cached, await at.opened())
    expect(read).toHaveLength(40)
    read.length = 0
    await loadHistory(cached, await at.opened(), { cached: true, thorough: true })
    expect(read).toHaveLength(40)
  })

  it('are kept only once a later change of their files shows', async () => {
    const at = await history(40)
    const context = { ...at.contexts.cached, now: () => new Date() }
    await loadHistory(context, await at.opened(), { cached: true })
    expect(existsSync(at.cacheFile())).toBe(false)
    await at.looked('cached')
    expect(existsSync(at.cacheFile())).toBe(true)
  })

  it('decide nothing about a chain that is used and is not what they say', async () => {
    const at = await history(40)
    const lie = (one: Manifest) => ({ ...one, label: 'never written' })
    const room = await at.opened()
    const memory = {
      load: async () => {
        const known = await loadHistory(at.contexts.plain, await at.opened())
        const stamps = await stampsNow(at.path, at.ids)
        return stamps.flatMap((stamp, n) => known.ours.slice(n, n + 1).map(one => ({ manifest: lie(one), stamp })))
      },
      keep: async () => {},
    }
    expect((await room.entries({ memory })).every(entry => entry.status === 'ok' && entry.manifest.label)).toBe(true)
    expect(await room.confirm(at.ids.slice(0, 3))).toBe(false)
    const found = await surveyUsing(room, at.contexts.plain, () => at.ids.slice(20, 25))
    expect(found.manifests.slice(20, 25).map(({ label }) => label)).toEqual(Array(5).fill(null))
  })

  it('say the same as the files, whatever happens to these', async () => {
    const number = fc.nat(33)
    const names = fc.constantFrom('manifest.json', 'SHA256SUMS')
    const steps = fc.array(
      fc.oneof(
        fc.record({ what: fc.constant('add' as const) }),
        fc.record({ what: fc.constantFrom('remove' as const, 'forge' as const), number }),
        fc.record({
          what: fc.constantFrom('tamper' as const, 'delete' as const, 'link' as const, 'hardlink' as const),
          number,
          name: names,
        }),
        fc.record({ what: fc.constantFrom('exchange' as const, 'move' as const), number, other: number }),
      ),
      { minLength: 1, maxLength: 6 },
    )
    await fc.assert(
      fc.asyncProperty(steps, async done => {
        const at = await history(34)
        await at.looked('cached')
        let next = 35
        for (const step of done) {
          const id = at.ids['number' in step ? step.number : 0] ?? ''
          const directory = join(at.source, id)
          if (step.what === 'add') at.put(next++)
          else if (step.what === 'forge') at.put(step.number + 1, { label: 'forged', sequence: 77 })
          else if (step.what === 'remove') rmSync(directory, { recursive: true, force: true })
          else if (!existsSync(directory)) continue
          else if ('name' in step) {
            const file = join(directory, step.name)
            if (!existsSync(file)) continue
            if (step.what === 'tamper') tamper(file)
            else if (step.what === 'delete') rmSync(file)
            else if (step.what === 'link') {
              renameSync(file, join(at.stateDirectory, `${id}-${step.name}`))
              symlinkSync(join(at.stateDirectory, `${id}-${step.name}`), file)
            } else if (!existsSync(`${file}.2`)) linkSync(file, `${file}.2`)
          } else if ('other' in step) {
            const other = join(at.source, at.ids[step.other] ?? '')
            if (other === directory || !existsSync(other)) continue
            renameSync(other, join(at.stateDirectory, 'aside'))
            renameSync(directory, other)
            if (step.what === 'exchange') renameSync(join(at.stateDirectory, 'aside'), directory)
            else rmSync(join(at.stateDirectory, 'aside'), { recursive: true })
          }
          expect(await at.looked('cached')).toEqual(await at.looked('plain'))
        }
      }),
      { numRuns: 12 },
    )
  })
})

describe('a cache of manifests', () => {
  const spoiled: [string, (file: string) => void][] = [
    ['is garbage', file => writeFileSync(file, 'x'.repeat(5000))],
    ['is empty', file => writeFileSync(file, '')],
    ['is cut off', file => writeFileSync(file, readFileSync(file).subarray(0, -1))],
    ['has a flipped bit', file => tamper(file)],
    ['is of a format to come', file => replaceIn(file, '"format":1', '"format":2')],
    ['is of another version', file => replaceIn(file, '"version":"0.1.0"', '"version":"0.1.1"')],
    ['claims to be huge', file => replaceIn(file, /"bytes":\d+/, '"bytes":999999999')],
    ['can be written by others', file => chmodSync(file, 0o660)],
    ['is a pipe', file => instead(file, () => execFileSync('mkfifo', [file]))],
    ['is a directory', file => instead(file, () => mkdirSync(file))],
  ]
  it.each(
    process.geteuid?.() === 0
      ? [...spoiled, ['belongs to somebody else', (file: string) => chownSync(file, 65534, 65534)] as const]
      : spoiled,
  )('that %s is passed over', async (_, spoil) => {
    const at = await history(33)
    await at.looked('cached')
    spoil(at.cacheFile())
    const read = manifestsRead()
    const repositories = [{ name: 'local', path: at.path }]
    const listed = await list(at.contexts.cached, { repositories, source: undefined, all: true })
    expect(read).toHaveLength(33)
    expect(listed).toEqual(await list(at.contexts.plain, { repositories, source: undefined, all: true }))
  })

  it('is written where there is a state directory, for enough backups, and forgets those that are gone', async () => {
    const at = await history(31)
    await at.looked('cached')
    expect(readdirSync(at.stateDirectory)).toEqual([])
    at.put(32)
    await at.looked('cached')
    const before = statSync(at.cacheFile())
    expect(before.mode & 0o777).toBe(0o600)
    for (const id of at.ids.slice(0, 20)) rmSync(join(at.source, id), { recursive: true })
    await at.looked('cached')
    expect(statSync(at.cacheFile()).size).toBeLessThan(before.size)
    rmSync(at.stateDirectory, { recursive: true })
    for (let sequence = 33; sequence < 70; sequence += 1) at.put(sequence)
    await at.looked('cached')
    expect(existsSync(at.stateDirectory)).toBe(false)
  })
})

function instead(file: string, make: () => void): void {
  rmSync(file)
  make()
}

function replaceIn(file: string, what: string | RegExp, by: string): void {
  const bytes = readFileSync(file)
  const end = bytes.indexOf('\n')
  const head = bytes.toString('latin1', 0, end)
  expect(head).toMatch(what)
  writeFileSync(file, Buffer.concat([Buffer.from(head.replace(what, by)), bytes.subarray(end)]))
}

/** Stamps of backups as they are now. */
async function stampsNow(path: string, ids: readonly string[]): Promise<BackupStamp[]> {
  const stamps = await stampsIn(await LocalStorage.open(path), 'itsm')?.(ids)
  return ids.map(id => stamps?.get(id)).filter(stamp => stamp !== undefined)
}
