import { execFile, execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compress } from 'zstd-napi'
import type { TreeEntry } from '../../src/image/tree/types.js'
import { WorkerPool } from '../../src/image/workers/pool.js'
import { formatChecksums, parseChecksums } from '../../src/repository/checksums.js'
import { initRepository } from '../../src/repository/open.js'
import type { SourceRoom } from '../../src/repository/types.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { archive, type Member, member } from '../image/tree/tar-bytes.js'
import { inPieces, plainInput } from '../image/tree/tree-store.js'
import { type Image, makeBackup } from './chains.js'
import { sha256 } from './manifests.js'
import { type MadeTree, makeTreeBackup } from './trees.js'

const now = new Date('2025-11-03T03:00:00Z')

interface Outcome {
  code: number
  stdout: string
  stderr: string
}

function recover(script: string, args: string[], env: NodeJS.ProcessEnv = process.env): Promise<Outcome> {
  return new Promise(resolve => {
    execFile(process.execPath, [script, ...args], { env, timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr })
    })
  })
}

async function newRoom(): Promise<{ room: SourceRoom; path: string; out: string; run(id: string): Promise<Outcome> }> {
  const base = temporaryDirectory()
  const path = join(base, 'repo')
  const room = (await initRepository(path, { now })).source('itsm')
  const out = join(base, 'out')
  return { room, path, out, run: id => recover(join(path, 'recover.mjs'), [join(path, 'itsm', id), out]) }
}

const blockSize = 512
const file = (bytes: Buffer): Image[] => [{ path: 'itsm.db', bytes, blockSize }]

/** Rewrites a file of a committed backup, and SHA256SUMS with it: an intruder who knows the format. */
function forge(directory: string, name: string, bytes: Buffer): void {
  writeFileSync(join(directory, name), bytes)
  const sums = parseChecksums(readFileSync(join(directory, 'SHA256SUMS')), 'test')
  writeFileSync(join(directory, 'SHA256SUMS'), formatChecksums(sums.set(name, sha256(bytes))))
}

const empty = Buffer.alloc(0)
const mtime = 1_600_000_000
const text = (name: string, content: Buffer, mode = 0o644): Member => ({ name, content, mode, mtime })
const directory = (name: string, mode: number): Member => ({ name, type: '5', mode, mtime: mtime + 7 })
const symlink = (name: string, link: string): Member => ({ name, type: '2', link, mtime: mtime + 9 })
const hardlink = (name: string, link: string): Member => ({ name, type: '1', link, mode: 0o640, mtime })

describe('recover.mjs', () => {
  test('recovers a full, a diff on it and an incr on that, and the full is the file that zstd unpacks', async () => {
    const { room, path, out, run } = await newRoom()
    const first = randomBytes(10 * blockSize)
    const full = await makeBackup(room, file(first))
    const second = Buffer.concat([
      first.subarray(0, 4 * blockSize),
      randomBytes(blockSize),
      first.subarray(5 * blockSize),
      randomBytes(3 * blockSize),
    ])
    const diff = await makeBackup(room, file(second), { type: 'diff', parent: full })
    const third = Buffer.concat([randomBytes(blockSize), second.subarray(blockSize, 7 * blockSize)])
    const incr = await makeBackup(room, file(third), { type: 'incr', parent: diff })
    for (const { manifest, images } of [full, diff, incr]) {
      const { code, stdout, stderr } = await run(manifest.id)
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout).toContain(`recovered ${manifest.id}`)
      expect(readFileSync(out).equals(images[0]?.bytes ?? Buffer.alloc(0))).toBe(true)
      rmSync(out)
    }
    expect(execFileSync('zstd', ['-dc', join(path, 'itsm', full.manifest.id, 'itsm.db.zst')]).equals(first)).toBe(true)
    execFileSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: join(path, 'itsm', incr.manifest.id) })
  })

  test('recovers an image of several files that come, go, grow, shrink and end in short blocks', async () => {
    const { room, out, run } = await newRoom()
    const image = (path: string, size: number): Image => ({ path, bytes: randomBytes(size), blockSize })
    const full = await makeBackup(room, [image('base/1', 5000), image('base/2', 700), image('gone', 900)])
    const incr = await makeBackup(
      room,
      [{ ...image('base/2', 512) }, { ...image('new/deep/3', 1300) }, full.images[0] as Image],
      {
        type: 'incr',
        parent: full,
      },
    )
    expect((await run(incr.manifest.id)).stderr).toBe('')
    for (const { path, bytes } of incr.images) expect(readFileSync(join(out, path)).equals(bytes)).toBe(true)
    expect(readdirSync(out, { recursive: true }).map(String).sort()).toEqual([
      'base',
      'base/1',
      'base/2',
      'new',
      'new/deep',
      'new/deep/3',
    ])
  })

  test('recovers an incr that stored nothing because nothing had changed', async () => {
    const { room, out, run } = await newRoom()
    const full = await makeBackup(room, file(randomBytes(3000)))
    const idle = await makeBackup(room, full.images, { type: 'incr', parent: full })
    expect(idle.manifest.parts[0]?.bytes).toBe(0)
    expect((await run(idle.manifest.id)).stderr).toBe('')
    expect(readFileSync(out).equals(full.images[0]?.bytes ?? Buffer.alloc(0))).toBe(true)
  })

  test('recovers every member of any chain', async () => {
    const block = fc.integer({ min: 0, max: 3 }).map(value => Buffer.alloc(blockSize, value))
    const content = fc.tuple(fc.array(block, { minLength: 1, maxLength: 12 }), fc.integer({ min: 1, max: blockSize }))
    const contents = fc.array(
      content.map(([blocks, last]) => Buffer.concat(blocks).subarray(0, (blocks.length - 1) * blockSize + last)),
      { minLength: 1, maxLength: 5 },
    )
    await fc.assert(
      fc.asyncProperty(contents, fc.integer({ min: 1, max: 4 }), async (images, runsPerFrame) => {
        const { room, out, run } = await newRoom()
        let parent: Awaited<ReturnType<typeof makeBackup>> | undefined
        for (const bytes of images) {
          parent = await makeBackup(room, file(bytes), { runsPerFrame, ...(parent ? { type: 'incr', parent } : {}) })
        }
        const { stderr } = await run(parent?.manifest.id ?? '')
        expect(stderr).toBe('')
        expect(readFileSync(out).equals(images.at(-1) ?? Buffer.alloc(0))).toBe(true)
      }),
      { numRuns: 12 },
    )
  })

  test('recovers trees: a full, and incrs after files were renamed, swapped, cut, removed and grew', async () => {
    const { room, path, out, run } = await newRoom()
    const scratch = temporaryDirectory()
    const pool = WorkerPool.start(new AbortController().signal, 2)
    try {
      const first = {
        files: [text('d/a', randomBytes(5000), 0o640), text('b', randomBytes(1300)), text('empty', empty)],
        links: [hardlink('d/hard', 'd/a'), symlink('d/soft', '/etc/passwd')],
      }
      const [a = empty, b = empty] = first.files.map(({ content }) => content ?? empty)
      const history = [
        [directory('d', 0o750), ...first.files, ...first.links],
        [directory('d', 0o555), text('b', a), text('d/a', b.subarray(0, 700)), symlink('x', 'b')],
        [text('d/new', randomBytes(600)), text('b', Buffer.concat([a, randomBytes(900)]), 0o400)],
      ]
      let parent: MadeTree | undefined
      for (const members of history) {
        const tar = inPieces(archive(...members.map(member)), [4000])
        // As inodes: what was d/a is b from the second on, and the other way round.
        const describe = (entry: TreeEntry) => {
          const swapped = parent !== undefined && entry.type === 'file'
          const base = swapped && parent?.manifest.sequence === 1 ? Number(entry.path === 'd/a') : entry.base
          return { ...entry, base, uid: 4711, gid: 4712, sparse: true }
        }
        const input = { blockSize: 512, carried: [], tar, describe }
        parent = await makeTreeBackup(room, input, { pool, directory: scratch, ...(parent ? { parent } : {}) })
        const { code, stdout, stderr } = await run(parent.manifest.id)
        expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
        expect(stdout).toContain(`recovered ${parent.manifest.id}`)
        for (const { name, content, mode, mtime } of members) {
          const stat = lstatSync(join(out, name))
          if (content !== undefined) expect(readFileSync(join(out, name)).equals(content)).toBe(true)
          if (mode !== undefined) expect(stat.mode & 0o7777).toBe(mode)
          expect(stat.mtimeMs).toBe(Number(mtime) * 1000)
          if (process.getuid?.() === 0) expect([stat.uid, stat.gid]).toEqual([4711, 4712])
        }
        const names = new Set(members.flatMap(({ name }) => (name.startsWith('d/') ? ['d', name] : [name])))
        expect(readdirSync(out, { recursive: true }).map(String).sort()).toEqual([...names].sort())
        expect(lstatSync(out).mode & 0o777).toBe(0o700)
        if (members === history[0]) {
          expect(readlinkSync(join(out, 'd/soft'))).toBe('/etc/passwd')
          expect(lstatSync(join(out, 'd/hard')).ino).toBe(lstatSync(join(out, 'd/a')).ino)
          const archived = execFileSync('zstd', ['-dcq', join(path, 'itsm', parent.manifest.id, 'uploads.tar.zst')])
          expect(execFileSync('tar', ['-tf', '-'], { input: archived }).toString()).toContain('d/hard')
        }
        chmodSync(join(out, 'd'), 0o700)
        rmSync(out, { recursive: true })
      }
    } finally {
      await pool.stop()
    }
  })

  test('writes nothing outside OUTPUT, whatever a list of entries says', async () => {
    const pool = WorkerPool.start(new AbortController().signal, 1)
    const { room, path, out, run } = await newRoom()
    const input = plainInput(inPieces(archive(member(text('a', randomBytes(600)))), [4000]), 512)
    const made = await makeTreeBackup(room, input, { pool, directory: temporaryDirectory() })
    await pool.stop()
    const backup = join(path, 'itsm', made.manifest.id)
    const [good] = [...made.backup.tree.entries()]
    const lists = [
      [{ ...good, path: '../escape' }],
      [{ ...good, path: '/tmp/escape' }],
      [{ ...good, path: 'a/./b' }],
      [{ ...good, path: 'a\0b' }],
      [
        { ...good, type: 'symlink', size: 0, link: '/tmp', path: 'x' },
        { ...good, path: 'x/escape' },
      ],
      [
        { ...good, path: 'x/escape' },
        { ...good, type: 'symlink', size: 0, link: '/tmp', path: 'x' },
      ],
      [good, good],
      [{ ...good, type: 'hardlink', size: 0, link: 'b', path: 'x' }],
      [{ ...good, type: 'hardlink', size: 0, link: '../../b', path: 'x' }],
      [{ ...good, type: 'device' }],
      [{ ...good, mode: 0o170644 }],
      [{ ...good, uid: -1 }],
      [{ ...good, size: -1 }],
      [{ ...good, size: 2 ** 50 }],
      [{ ...good, base: 1.5 }],
      [{ ...good, mtime: 'never' }],
      [null],
      [],
    ]
    for (const list of lists) {
      const bytes = compress(Buffer.from(list.map(entry => `${JSON.stringify(entry)}\n`).join('')))
      forge(backup, 'tree.jsonl.zst', bytes)
      const { manifest } = made
      const tree = { ...manifest.tree, entries: list.length || 1 }
      forge(backup, 'manifest.json', Buffer.from(JSON.stringify({ ...manifest, tree })))
      const { code, stderr } = await run(made.manifest.id)
      expect({ list, code, stderr }).toMatchObject({ code: 1, stderr: expect.stringMatching(/^recover: /) })
      expect(stderr).not.toMatch(/TypeError|undefined/)
      expect(readdirSync(join(out, '..')).filter(name => name !== 'out.partial')).toEqual(['repo'])
      rmSync(`${out}.partial`, { recursive: true, force: true })
    }
  })

  test('overwrites nothing', async () => {
    const { room, out, run } = await newRoom()
    const { manifest } = await makeBackup(room, file(randomBytes(2000)))
    for (const existing of [out, `${out}.partial`]) {
      writeFileSync(existing, 'precious')
      expect(await run(manifest.id)).toMatchObject({ code: 1, stderr: expect.stringContaining('already exists') })
      expect(readFileSync(existing, 'utf8')).toBe('precious')
      rmSync(existing)
    }
    symlinkSync('/nowhere', out)
    expect((await run(manifest.id)).stderr).toContain('already exists')
  })

  test('says what is missing: a parent, the zstd program, an argument', async () => {
    const { room, path, out, run } = await newRoom()
    const full = await makeBackup(room, file(randomBytes(2000)))
    const incr = await makeBackup(room, file(randomBytes(2000)), { type: 'incr', parent: full })
    const script = join(path, 'recover.mjs')
    const directory = join(path, 'itsm', incr.manifest.id)
    const without = await recover(script, [directory, out], { PATH: '/nonexistent' })
    expect(without).toMatchObject({ code: 1, stderr: expect.stringContaining('apt install zstd') })
    expect(existsSync(out)).toBe(false)
    rmSync(`${out}.partial`)
    rmSync(join(path, 'itsm', full.manifest.id), { recursive: true })
    expect((await run(incr.manifest.id)).stderr).toContain(`needs its parent ${full.manifest.id}, which is missing`)
    expect((await recover(script, [directory])).stderr).toContain('usage: node')
    expect((await recover(script, [path, out])).stderr).toContain('its name is no id')
    expect(readdirSync(join(path, '..'))).toEqual(['repo'])
  })

  test('finds every flipped byte of parts, index, manifest and checksums before it writes', async () => {
    const { room, path, out, run } = await newRoom()
    const { manifest } = await makeBackup(room, file(randomBytes(1500)))
    const directory = join(path, 'itsm', manifest.id)
    for (const name of readdirSync(directory)) {
      const good = readFileSync(join(directory, name))
      const bad = Buffer.from(good)
      bad[Math.floor(bad.length / 2)] = (bad[Math.floor(bad.length / 2)] ?? 0) ^ 1
      writeFileSync(join(directory, name), bad)
      expect((await run(manifest.id)).code).toBe(1)
      expect(readdirSync(join(out, '..'))).toEqual(['repo'])
      writeFileSync(join(directory, name), good)
    }
    expect((await run(manifest.id)).code).toBe(0)
  })

  test('refuses parents that go round in a circle or are links', async () => {
    const { room, path, run } = await newRoom()
    const full = await makeBackup(room, file(randomBytes(2000)))
    const first = await makeBackup(room, file(randomBytes(2000)), { type: 'incr', parent: full })
    const second = await makeBackup(room, file(randomBytes(2000)), { type: 'incr', parent: first })
    const directory = join(path, 'itsm', first.manifest.id)
    forge(directory, 'manifest.json', Buffer.from(JSON.stringify({ ...first.manifest, parent: second.manifest.id })))
    expect((await run(second.manifest.id)).stderr).toContain('go round in a circle')
    cpSync(directory, join(path, 'elsewhere'), { recursive: true })
    rmSync(directory, { recursive: true })
    symlinkSync('../elsewhere', directory)
    expect((await run(second.manifest.id)).stderr).toContain('which is missing')
  })

  test('writes nothing outside OUTPUT, whatever a manifest says', async () => {
    const paths = ['../escape', '/tmp/escape', 'a/../../escape', 'a//b', '', '.', 'a\0b', 7, null]
    for (const evil of paths) {
      const { room, path, out, run } = await newRoom()
      const made = await makeBackup(room, [
        ...file(randomBytes(600)),
        { path: 'b', bytes: randomBytes(600), blockSize },
      ])
      const files = [{ ...made.manifest.files[0], path: evil }, made.manifest.files[1]]
      forge(
        join(path, 'itsm', made.manifest.id),
        'manifest.json',
        Buffer.from(JSON.stringify({ ...made.manifest, files })),
      )
      expect(await run(made.manifest.id)).toMatchObject({ code: 1, stderr: expect.stringContaining('list of files') })
      expect(readdirSync(join(out, '..'))).toEqual(['repo'])
    }
  })

  test('refuses sizes that would exhaust memory or disk', async () => {
    const { room, path, run } = await newRoom()
    const made = await makeBackup(room, file(randomBytes(600)))
    const files = [{ ...made.manifest.files[0], size: 2 ** 52 }]
    forge(
      join(path, 'itsm', made.manifest.id),
      'manifest.json',
      Buffer.from(JSON.stringify({ ...made.manifest, files })),
    )
    expect((await run(made.manifest.id)).stderr).toContain('larger than what is stored of them')
  })

  test('ends with a clear error, never a crash or a wrong file, for any change of an index', async () => {
    const { room, path, out, run } = await newRoom()
    const made = await makeBackup(room, file(randomBytes(2500)), { runsPerFrame: 1 })
    const directory = join(path, 'itsm', made.manifest.id)
    const good = readFileSync(join(directory, 'blocks.idx'))
    const place = fc.integer({ min: 0, max: good.length - 1 })
    await fc.assert(
      fc.asyncProperty(place, fc.integer({ min: 1, max: 255 }), fc.boolean(), async (at, change, cut) => {
        const bad = Buffer.from(good)
        bad[at] = (bad[at] ?? 0) ^ change
        forge(directory, 'blocks.idx', cut ? good.subarray(0, at) : bad)
        // Of the run before, which may have failed.
        rmSync(out, { force: true })
        rmSync(`${out}.partial`, { force: true })
        const { code, stderr } = await run(made.manifest.id)
        if (code === 0) expect(readFileSync(out).equals(made.images[0]?.bytes ?? Buffer.alloc(0))).toBe(true)
        else expect(stderr).toMatch(/^recover: .*(blocks\.idx|image digest|unpacked|larger)/)
      }),
      { numRuns: 40 },
    )
  })

  test('notices data that is not what the index says, and zstd frames that are broken', async () => {
    const { room, path, out, run } = await newRoom()
    const made = await makeBackup(room, file(randomBytes(2500)))
    const directory = join(path, 'itsm', made.manifest.id)
    const good = readFileSync(join(directory, 'itsm.db.zst'))
    for (const bad of [Buffer.from('no frame'), Buffer.alloc(0), good.subarray(0, 100), Buffer.concat([good, good])]) {
      forge(directory, 'itsm.db.zst', bad)
      const { code, stderr } = await run(made.manifest.id)
      expect(code).toBe(1)
      expect(stderr).toMatch(/cannot be trusted\n$/)
      expect(existsSync(out)).toBe(false)
      rmSync(`${out}.partial`)
    }
  })

  test('is described in RECOVER.txt, whose commands work as they stand', async () => {
    const { room, path, out } = await newRoom()
    const made = await makeBackup(room, file(randomBytes(1500)))
    const text = readFileSync(join(path, 'RECOVER.txt'), 'utf8')
    mkdirSync(out)
    // Those of encrypted backups are tried where there are some (operations/sealing).
    const commands = text.split('\n').filter(line => /^ {2}(cd|zstd|node) /.test(line) && !line.includes('-file '))
    expect(commands).toHaveLength(3)
    for (const command of commands) {
      const real = command
        .replaceAll('SOURCE/ID', `itsm/${made.manifest.id}`)
        .replaceAll('NAME', 'itsm.db')
        .replaceAll('/path/to/new', out)
      execFileSync('sh', ['-c', real], { cwd: path, stdio: 'pipe' })
    }
    expect(readdirSync(out).sort()).toEqual(['OUTPUT', 'itsm.db'])
  })
})
