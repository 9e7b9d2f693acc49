import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { TaskExecutor } from '../../../src/image/workers/execute.js'
import { placePieces } from '../../../src/image/workers/place.js'
import type { CreateTask, SettleTask } from '../../../src/image/workers/tasks.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

const isRoot = process.getuid?.() === 0

function make(files: CreateTask['files']) {
  return new TaskExecutor().execute({ kind: 'create', files })
}

function settle(items: SettleTask['items']) {
  return new TaskExecutor().execute({ kind: 'settle', items })
}

describe('making files', () => {
  test('gives them their size, and to nobody else', async () => {
    const directory = temporaryDirectory()
    const files = [
      { path: join(directory, 'empty'), size: 0 },
      { path: join(directory, 'large'), size: 1 << 30 },
    ]
    expect(await make(files)).toEqual({ problems: [] })
    for (const { path, size } of files) {
      // A hole: nothing is written yet.
      expect(statSync(path)).toMatchObject({ size, mode: 0o100600, blocks: 0 })
    }
  })

  test('leaves out what is there already, or a link, which is not followed', async () => {
    const directory = temporaryDirectory()
    const [path, link] = [join(directory, 'file'), join(directory, 'link')]
    writeFileSync(path, 'mine')
    symlinkSync('nowhere', link)
    const taken = [path, link, join(directory, 'free')].map(name => ({ path: name, size: 5 }))
    const message = expect.stringContaining('EEXIST')
    expect(await make(taken)).toEqual({ problems: [0, 1].map(at => ({ at, message })) })
    expect(statSync(join(directory, 'free')).size).toBe(5)
    expect(readFileSync(path, 'utf8')).toBe('mine')
    expect(existsSync(join(directory, 'nowhere'))).toBe(false)
  })

  test('leaves none that could not be made as large as it must be', async () => {
    const path = join(temporaryDirectory(), 'file')
    await expect(make([{ path, size: 2 ** 53 }])).rejects.toThrow()
    expect(existsSync(path)).toBe(false)
  })
})

describe('settling files and directories', () => {
  test('gives them mode, owner and time', async () => {
    const directory = temporaryDirectory()
    const [file, below] = [join(directory, 'file'), join(directory, 'below')]
    writeFileSync(file, 'x')
    mkdirSync(below)
    const owner = isRoot ? { uid: 1000, gid: 2000 } : null
    const items = [
      { path: file, directory: false, attributes: { mode: 0o4751, owner, mtime: 1.4e9 + 0.5 }, sync: true },
      { path: below, directory: true, attributes: { mode: 0o2750, owner, mtime: 1.3e9 }, sync: true },
      { path: directory, directory: true, attributes: null, sync: true },
    ]
    expect(await settle(items)).toEqual({ problems: [] })
    // The set-user-id bit, though its owner was changed.
    expect(statSync(file)).toMatchObject({ mode: 0o104751, mtimeMs: 1.4e12 + 500, ...owner })
    expect(statSync(below)).toMatchObject({ mode: 0o042750, mtimeMs: 1.3e12, ...owner })
  })

  test('follows no link and takes no file for a directory', async () => {
    const directory = temporaryDirectory()
    const [file, link] = [join(directory, 'file'), join(directory, 'link')]
    writeFileSync(file, 'x', { mode: 0o644 })
    symlinkSync('file', link)
    const attributes = { mode: 0o777, owner: null, mtime: 0 }
    const linked = settle([{ path: link, directory: false, attributes, sync: false }])
    await expect(linked).rejects.toMatchObject({ code: 'ELOOP' })
    const mistaken = settle([{ path: file, directory: true, attributes, sync: false }])
    await expect(mistaken).rejects.toMatchObject({ code: 'ENOTDIR' })
    expect(statSync(file).mode & 0o777).toBe(0o644)
  })
})

describe('placing pieces', () => {
  /** Files as long as they must be, and empty. */
  async function files(...sizes: number[]): Promise<string[]> {
    const directory = temporaryDirectory()
    const made = sizes.map((size, at) => ({ path: join(directory, String(at)), size }))
    await make(made)
    return made.map(({ path }) => path)
  }

  test('writes each to its place, several to one file', async () => {
    const [one = '', two = ''] = await files(10, 4)
    const to = (path: string) => ({ path, sparse: false })
    placePieces(Buffer.from('abcdefghij'), [
      { to: to(one), position: 5, offset: 0, length: 3 },
      { to: to(one), position: 0, offset: 8, length: 2 },
      { to: to(two), position: 1, offset: 4, length: 3 },
    ])
    expect(readFileSync(one, 'latin1')).toBe('ij\0\0\0abc\0\0')
    expect(readFileSync(two, 'latin1')).toBe('\0efg')
  })

  test('leaves holes where a sparse file has zeros', async () => {
    const size = 1 << 20
    const [sparse = '', dense = ''] = await files(size, size)
    const plain = Buffer.alloc(size)
    plain.write('first', 3)
    plain.write('in the middle', size >> 1)
    plain.write('!', size - 1)
    for (const path of [sparse, dense]) {
      placePieces(plain, [{ to: { path, sparse: path === sparse }, position: 0, offset: 0, length: size }])
      expect(readFileSync(path).equals(plain), path).toBe(true)
    }
    expect(statSync(sparse).blocks * 512).toBeLessThan(64 << 10)
    expect(statSync(dense).blocks * 512).toBeGreaterThanOrEqual(size)
  })

  test('makes no file and follows no link', async () => {
    const directory = temporaryDirectory()
    const [target = ''] = await files(4)
    const [absent, link] = [join(directory, 'absent'), join(directory, 'link')]
    symlinkSync(target, link)
    for (const [path, code] of [
      [absent, 'ENOENT'],
      [link, 'ELOOP'],
    ] as const) {
      const piece = { to: { path, sparse: false }, position: 0, offset: 0, length: 4 }
      expect(() => placePieces(Buffer.from('evil'), [piece])).toThrowError(expect.objectContaining({ code }))
    }
    expect([existsSync(absent), readFileSync(target, 'latin1')]).toEqual([false, '\0\0\0\0'])
  })
})
