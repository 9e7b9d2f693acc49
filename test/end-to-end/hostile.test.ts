import { createHash } from 'node:crypto'
import {
  closeSync,
  cpSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { runFake } from '../cli/fake-io.js'
import { inBucket, kindEnvironment, partName } from '../helpers/repository-kind.js'
import { type Stored, storedIn } from '../helpers/stored.js'
import { changeDatabase, makeDatabase } from './helpers/database.js'
import { digestOf } from './helpers/kills.js'
import { backupIds, type Place, place } from './helpers/place.js'
import type { Finished } from './helpers/run.js'

/** A process that takes more than this for a repository of kilobytes is being exhausted. */
const limited = { node: ['--max-old-space-size=256'] }

// biome-ignore lint/suspicious/noExplicitAny: it is made to be wrong
type Wrong = any

/** A repository whose writer means harm: every checksum fits. */
interface Hostile extends Place {
  ids: string[]
  stored: Stored
  /** Puts a text in a manifest's place and makes the checksums fit. */
  write(index: number, text: string): void
  /** Changes a manifest and makes the checksums fit. */
  rewrite(index: number, change: (manifest: Wrong) => void): void
  /** Puts other bytes in a part's place and makes manifest and checksums fit. */
  replacePart(index: number, part: string, bytes: Buffer): void
}

/** A full and an incr, made once: most cases only read them. */
let template: Place | undefined
afterAll(() => {
  if (template !== undefined) rmSync(template.directory, { recursive: true })
})

async function make(at: Place): Promise<void> {
  await makeDatabase(at.database, { rows: 40 })
  await at.ok('create', ['--init', '--type', 'full'])
  await changeDatabase(at.database, 1)
  await at.ok('create', ['--type', 'incr'])
}

/** @param own made for this test, where it is to go on: a copy's database would be another claimant */
async function hostile({ own = false } = {}): Promise<Hostile> {
  const at = place()
  if (own) await make(at)
  else {
    if (template === undefined) {
      template = place(mkdtempSync(join(tmpdir(), 'nexus-backup-template-')))
      await make(template)
    }
    cpSync(template.directory, at.directory, { recursive: true })
    if (inBucket) storedIn(template.repository).copyTo(at.repository)
  }
  const stored = storedIn(at.repository)
  const ids = backupIds(at)
  const file = (index: number, name: string) => `app/${ids[index]}/${name}`
  const rewrite: Hostile['rewrite'] = (index, change) => {
    const manifest = JSON.parse(stored.read(file(index, 'manifest.json')).toString())
    change(manifest)
    write(index, `${JSON.stringify(manifest, null, 2)}\n`)
  }
  const write: Hostile['write'] = (index, text) => {
    stored.write(file(index, 'manifest.json'), text)
    const sum = createHash('sha256').update(text).digest('hex')
    const sums = stored.read(file(index, 'SHA256SUMS')).toString()
    stored.write(file(index, 'SHA256SUMS'), sums.replace(/^[0-9a-f]{64}(?= {2}manifest\.json$)/m, sum))
  }
  return {
    ...at,
    ids,
    stored,
    write,
    rewrite,
    replacePart(index, plainName, bytes) {
      const part = partName(plainName)
      stored.write(file(index, part), bytes)
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      const sums = stored.read(file(index, 'SHA256SUMS')).toString()
      const line = new RegExp(`^[0-9a-f]{64}(?= {2}${part.replaceAll('.', '\\.')}$)`, 'm')
      stored.write(file(index, 'SHA256SUMS'), sums.replace(line, sha256))
      rewrite(index, manifest => {
        const named = manifest.parts.find(({ name }: { name: string }) => name === part)
        manifest.bytes_stored += bytes.length - named.bytes
        Object.assign(named, { bytes: bytes.length, sha256 })
      })
    },
  }
}

function tree(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter(name => !name.startsWith('repository') && !name.startsWith('state'))
    .sort()
}

/** How a command is run: by a process that has little memory, or faster, where none is at stake. */
type Runner = (
  at: Hostile,
  command: string,
  args: readonly string[],
) => Promise<Pick<Finished, 'code' | 'signal' | 'stderr'>>
const inLittleMemory: Runner = (at, command, args) => at.run(command, args, limited)
const within: Runner = async (at, command, args) => {
  const { status, stderr } = await runFake([command, ...args, ...at.flags], { env: kindEnvironment })
  return { code: status, signal: null, stderr }
}

/** Restore and verify must say what is damaged, quickly, and leave everything outside the target alone. */
async function expectRefused(at: Hostile, index: number, run: Runner = inLittleMemory): Promise<void> {
  const before = [tree(at.directory), digestOf(at.database)]
  const target = join(at.directory, 'restored.db')
  const restored = await run(at, 'restore', [at.ids[index] ?? '', '--to', target])
  const verified = await run(at, 'verify', [])
  for (const [what, result] of Object.entries({ restored, verified })) {
    const { code, signal, stderr } = result
    expect({ what, code, signal, stderr }).toMatchObject({ what, code: 4, signal: null })
    expect(stderr).not.toMatch(/defect|^ +at /m)
  }
  expect(existsSync(target)).toBe(false)
  expect([tree(at.directory), digestOf(at.database)]).toEqual(before)
}

describe('a hostile repository', () => {
  const manifests: [string, number, (manifest: Wrong) => void][] = [
    ['a file that climbs out', 0, m => Object.assign(m.files[0], { path: '../../live/app.db' })],
    ['a file with an absolute path', 0, m => Object.assign(m.files[0], { path: '/tmp/escaped' })],
    ['a part that climbs out', 0, m => Object.assign(m.parts[0], { name: '../../../live/app.db' })],
    ['a part that is the manifest', 0, m => Object.assign(m.parts[0], { name: 'manifest.json' })],
    ['an id that is another one', 0, m => Object.assign(m, { id: '../app' })],
    ['a source that is another one', 0, m => Object.assign(m, { source: '..' })],
    ['a negative size', 0, m => Object.assign(m.files[0], { size: -1 })],
    ['a size that is text', 0, m => Object.assign(m.files[0], { size: '4096' })],
    ['a block size of zero', 0, m => Object.assign(m.files[0], { block_size: 0 })],
    ['no files', 1, m => Object.assign(m, { files: [], blocks_total: 0 })],
    ['no parts', 0, m => Object.assign(m, { parts: [] })],
    ['a parent of itself', 1, m => Object.assign(m, { parent: m.id })],
    ['a parent that climbs out', 1, m => Object.assign(m, { parent: '../../live' })],
    ['a parent newer than itself', 1, m => Object.assign(m, { sequence: 1 })],
    ['a parent that does not exist', 1, m => Object.assign(m, { parent: '20200101T000000.000Z-full-0000' })],
    ['a seed that is none', 0, m => Object.assign(m, { digest_seed: 'zz' })],
    ['a format of tomorrow', 0, m => Object.assign(m, { format: 2 })],
  ]
  it.each(manifests)('whose manifest has %s is refused as damaged', async (_, index, change) => {
    const at = await hostile()
    at.rewrite(index, change)
    await expectRefused(at, index, within)
  })

  const boundless: typeof manifests = [
    ['a file larger than all disks', 0, m => Object.assign(m.files[0], { size: 2 ** 53 - 512 })],
    [
      'a file larger than all disks, with blocks and bytes to match',
      0,
      m => {
        const blocks = 2 ** 40
        Object.assign(m.files[0], { size: blocks * 512, block_size: 512 })
        Object.assign(m, { blocks_total: blocks, blocks_stored: blocks, bytes_source: 1 })
      },
    ],
    [
      'an increment that says it grew beyond all disks',
      1,
      m => {
        const blocks = 2 ** 40
        Object.assign(m.files[0], { size: blocks * m.files[0].block_size })
        Object.assign(m, { blocks_total: blocks, bytes_source: 1 })
      },
    ],
    ['files that are none', 0, m => Object.assign(m, { files: { length: 1e9 } })],
  ]
  it.each(boundless)('whose manifest has %s is refused without taking memory', async (_, index, change) => {
    const at = await hostile()
    at.rewrite(index, change)
    await expectRefused(at, index)
  })

  it('whose manifests are each other’s parents is refused as damaged', async () => {
    const at = await hostile({ own: true })
    await at.ok('create', ['--type', 'incr'])
    at.ids.push(backupIds(at).at(-1) ?? '')
    at.rewrite(1, manifest => Object.assign(manifest, { parent: at.ids[2], sequence: 9 }))
    at.rewrite(2, manifest => Object.assign(manifest, { parent: at.ids[1] }))
    await expectRefused(at, 2)
  })

  it('whose manifest is deep or large beyond reason is refused without taking memory', async () => {
    const at = await hostile()
    for (const text of [`${'['.repeat(5_000_000)}`, `[${'{},'.repeat(8_000_000)}{}]`, `"${'x'.repeat(80 << 20)}"`]) {
      at.write(1, text)
      await expectRefused(at, 1)
    }
  })

  const header = Buffer.alloc(16)
  header.write('NXBKIDX1', 'latin1')
  header.writeUInt32LE(16, 8)
  const frame = (stored: number, plain: number, runs: number[][]) => {
    const bytes = Buffer.alloc(12 + runs.length * 24)
    for (const [at, value] of [stored, plain, runs.length].entries()) bytes.writeUInt32LE(value, at * 4)
    for (const [at, [file = 0, count = 0, first = 0, offset = 0]] of runs.entries()) {
      bytes.writeUInt32LE(file, 12 + at * 24)
      bytes.writeUInt32LE(count, 16 + at * 24)
      bytes.writeBigUInt64LE(BigInt(first), 20 + at * 24)
      bytes.writeUInt32LE(offset, 28 + at * 24)
    }
    return Buffer.concat([header, bytes])
  }
  const indexes: [string, Buffer][] = [
    ['blocks beyond the end of the file', frame(100, 4096, [[0, 1, 2 ** 40, 0]])],
    ['blocks at a number that no number can hold', frame(100, 4096, [[0, 1, 2 ** 53, 0]])],
    ['a file that the manifest does not have', frame(100, 4096, [[7, 1, 0, 0]])],
    ['blocks outside of their frame', frame(100, 4096, [[0, 1, 0, 4096]])],
    ['nothing', Buffer.alloc(0)],
    ['no end', header],
  ]
  it.each(indexes)('whose index has %s is refused as damaged', async (_, bytes) => {
    const at = await hostile()
    at.replacePart(0, 'blocks.idx', bytes)
    await expectRefused(at, 0, within)
  })

  const boundlessIndexes: typeof indexes = [
    ['a run of billions of blocks', frame(100, 16 << 20, [[0, 2 ** 32 - 1, 0, 0]])],
    ['a frame of gigabytes', frame(2 ** 32 - 1, 2 ** 32 - 1, [])],
    ['billions of runs', Buffer.concat([header, Buffer.from('640000000010000000ffffff', 'hex')])],
  ]
  it.each(boundlessIndexes)('whose index has %s is refused without taking memory', async (_, bytes) => {
    const at = await hostile()
    at.replacePart(0, 'blocks.idx', bytes)
    await expectRefused(at, 0)
  })

  // An object has no holes.
  it.skipIf(inBucket)('whose index is a hole of terabytes is refused without reading it to memory', async () => {
    const at = await hostile()
    const path = join(at.repository, 'app', at.ids[0] ?? '', partName('blocks.idx'))
    const fd = openSync(path, 'r+')
    ftruncateSync(fd, 2 ** 40)
    closeSync(fd)
    const { code } = await at.run('restore', [at.ids[0] ?? '', '--to', join(at.directory, 'restored.db')], limited)
    expect(code).toBe(4)
  })

  // There are no links in a bucket.
  it.skipIf(inBucket)(
    'with links where directories and files should be is refused, and nothing behind them is touched',
    async () => {
      const at = await hostile()
      const outside = join(at.directory, 'outside')
      cpSync(join(at.repository, 'app'), outside, { recursive: true })
      const before = tree(outside)
      const target = join(at.directory, 'restored.db')

      // A backup that is a link.
      const [id = ''] = at.ids
      renameSync(join(at.repository, 'app', id), join(at.directory, 'away'))
      symlinkSync(join(outside, id), join(at.repository, 'app', id))
      expect((await at.run('restore', [id, '--to', target])).code).toBe(4)
      expect((await at.run('verify')).code).toBe(4)
      expect((await at.run('prune', ['app', '--keep-last', '1'])).code).toBe(4)
      expect(existsSync(join(at.repository, 'app', id))).toBe(true)

      // A part that is a link.
      rmSync(join(at.repository, 'app', id))
      renameSync(join(at.directory, 'away'), join(at.repository, 'app', id))
      const part = partName('app.db.zst')
      rmSync(join(at.repository, 'app', id, part))
      symlinkSync(join(outside, id, part), join(at.repository, 'app', id, part))
      expect((await at.run('verify')).code).toBe(4)
      expect((await at.run('restore', [id, '--to', target])).code).toBe(4)

      // A source that is a link: it must not be passed over as if there were none.
      rmSync(join(at.repository, 'app'), { recursive: true })
      symlinkSync(outside, join(at.repository, 'app'))
      for (const args of [['create'], ['verify'], ['list']] as const) {
        expect({ args, code: (await at.run(args[0])).code }).toEqual({ args, code: 4 })
      }
      expect((await at.run('prune', ['app', '--keep-last', '1'])).code).not.toBe(0)
      expect(tree(outside)).toEqual(before)
      expect(existsSync(target)).toBe(false)
    },
  )
})

describe('a backup directory robbed of its manifest or checksums', () => {
  it.each([
    'manifest.json',
    'SHA256SUMS',
  ])('is damage to list and verify without its %s, and is never removed', async name => {
    const at = await hostile({ own: true })
    const [id = ''] = at.ids
    at.stored.remove(`app/${id}/${name}`)
    const listed = await at.json('list')
    expect(listed.code).toBe(4)
    expect(listed.document.problems).toContainEqual(expect.objectContaining({ id, status: 'damaged' }))
    const verified = await at.json('verify')
    expect(verified.code).toBe(4)
    expect(verified.document.results).toContainEqual(expect.objectContaining({ id, affects: at.ids }))
    // What stood on it cannot be built on: a full is made, and says why.
    const created = await at.json('create')
    expect(created.code).toBe(0)
    expect(created.document.backups[0]).toMatchObject({ type: 'full' })
    expect(created.document.backups[0].warnings.join()).toContain('full')
    expect((await at.json('prune', ['app', '--keep-last', '1'])).code).toBe(4)
    expect(at.stored.files(`app/${id}`)).toContain(`app/${id}/${partName('app.db.zst')}`)
    expect(backupIds(at)).toContain(id)
  })

  // Where nothing lies, a bucket has no directory.
  it.skipIf(inBucket)('that holds nothing at all is damage too', async () => {
    const at = await hostile({ own: true })
    mkdirSync(join(at.repository, 'app', '20260101T000000.000Z-full-dead'))
    expect((await at.run('list')).code).toBe(4)
    expect((await at.run('verify')).code).toBe(4)
    await at.ok('create')
    expect((await at.run('prune', ['app', '--keep-last', '1'])).code).toBe(4)
    expect(backupIds(at)).toContain('20260101T000000.000Z-full-dead')
  })
})
