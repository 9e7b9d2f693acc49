import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  fstatSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { TreePaths } from '../../../src/image/tree/tree.js'
import type { TreeEntry, TreeInput } from '../../../src/image/tree/types.js'
import { captureFiles } from '../../../src/sources/files/capture.js'
import { isUnchanged } from '../../../src/sources/files/entry-facts.js'
import { foundStats } from '../../../src/sources/files/found.js'
import { FoundStore } from '../../../src/sources/files/found-store.js'
import { continuedFiles } from '../../../src/sources/files/known-files.js'
import { readWhole } from '../../../src/sources/files/read-file.js'
import { newRemarks } from '../../../src/sources/files/remarks.js'
import { hasAttributes } from '../../../src/system/attributes.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { gathered } from './trees.js'

/** Files that are just made count as settled: this is when the capture says it began. */
const later = () => new Date(Date.now() + 60_000)

/** What the engine would keep of a capture: carried files first, then what the archive holds. */
async function kept(input: TreeInput, room: string): Promise<TreeEntry[]> {
  const file = join(room, 'archive.tar')
  writeFileSync(file, await gathered(input.tar))
  const names = execFileSync('tar', ['-tf', file], { encoding: 'utf8' }).split('\n').filter(Boolean)
  const blank = { path: '', type: 'file', mode: 0, uid: 0, gid: 0, owner: '', group: '', mtime: 0, size: 0 } as const
  const header = { ...blank, link: '', sparse: false, base: null, facts: {} }
  const described = names.map(path => input.describe({ ...header, path }))
  return [...Array.from(input.carried, ({ entry }) => entry), ...described.filter(entry => entry !== null)]
}

function treeOf(entries: readonly TreeEntry[]): TreePaths {
  const files = entries.filter(({ type }) => type === 'file')
  return {
    layout: undefined as never,
    count: files.length,
    fileNumber: path => {
      const number = files.findIndex(file => file.path === path)
      return number < 0 ? undefined : number
    },
    fileEntry: file => files[file] as TreeEntry,
  }
}

/** Captures a tree twice, changing it between, and tells what became of each file the second time. */
async function twice(change: (root: string) => void, { now = later, reread = false } = {}) {
  const room = temporaryDirectory()
  const root = join(room, 'up')
  mkdirSync(join(root, 'sub'), { recursive: true })
  for (const name of ['a', 'b', 'log', 'sub/x', 'sub/y']) writeFileSync(join(root, name), `content of ${name}`)
  const settings = { name: 'up', paths: [root], exclude: [], include: [] }
  const signal = new AbortController().signal
  const first = await captureFiles(settings, { now, signal })
  const before = treeOf(await kept(await first.open(null), room))
  change(root)
  const second = await captureFiles(settings, { now: later, signal, reread })
  const input = await second.open(before)
  const carried = new Set(Array.from(input.carried, ({ entry }) => entry.path))
  const entries = await kept(input, room)
  const fates = entries
    .filter(({ type }) => type === 'file')
    .map(({ path, base }) => {
      const from = base === null ? 'new' : before.fileEntry(base).path.slice(root.length - 1)
      return `${path.slice(root.length - 1)} ${carried.has(path) ? 'carried' : 'read'} ${from}`
    })
  return { fates: fates.sort(), outcome: await second.finish(), room, root, settings }
}

describe('the next capture', () => {
  it('reads nothing where nothing changed', async () => {
    const { fates, outcome } = await twice(() => {})
    expect(fates).toEqual(['/a', '/b', '/log', '/sub/x', '/sub/y'].map(name => `${name} carried ${name}`))
    expect(outcome).toMatchObject({ warnings: [], incomplete: false })
  })

  it('reads everything when the one before put zeros in the place of what it could not read', async () => {
    const room = temporaryDirectory()
    const fd = openSync(room, 'r')
    const remarks = newRemarks()
    const stats = { ...foundStats(fstatSync(fd, { bigint: true })), size: 10 }
    // A directory's descriptor fails like a file's on a failing disk.
    expect(readWhole({ fd, stats, location: room, remarks })).toEqual(Buffer.alloc(10))
    closeSync(fd)
    expect(remarks).toMatchObject({ reread: true, incomplete: true })
    const { fates, outcome } = await twice(() => {}, { reread: true })
    expect(fates).toEqual(['/a', '/b', '/log', '/sub/x', '/sub/y'].map(name => `${name} read ${name}`))
    expect(outcome.facts.reread).toBeUndefined()
  })

  it('reads all that was changed less than two seconds before the first one began', async () => {
    const { fates } = await twice(() => {}, { now: () => new Date() })
    expect(fates.filter(fate => fate.includes('carried'))).toEqual([])
  })

  it('reads what was changed, even when its time was set back', async () => {
    const { fates } = await twice(root => {
      appendFileSync(join(root, 'log'), 'more')
      writeFileSync(join(root, 'a'), 'CONTENT of a')
      utimesSync(join(root, 'a'), 1e9, 1e9)
      utimesSync(join(root, 'b'), 1e9, 1e9)
    })
    expect(fates).toEqual([
      '/a read /a',
      '/b read /b',
      '/log read /log',
      '/sub/x carried /sub/x',
      '/sub/y carried /sub/y',
    ])
  })

  it('knows a rotated log under its new name, and the new one by its old name where that is free', async () => {
    const { fates } = await twice(root => {
      renameSync(join(root, 'log'), join(root, 'log.1'))
      writeFileSync(join(root, 'log'), 'begun')
    })
    expect(fates).toContain('/log.1 read /log')
    expect(fates).toContain('/log read new')
  })

  it('carries what lies in a renamed directory', async () => {
    const { fates } = await twice(root => renameSync(join(root, 'sub'), join(root, 'moved')))
    expect(fates).toContain('/moved/x carried /sub/x')
    expect(fates).toContain('/moved/y carried /sub/y')
  })

  it('takes a file that was replaced as a whole for a change of the one before', async () => {
    const { fates } = await twice(root => {
      writeFileSync(join(root, 'new'), 'new content')
      renameSync(join(root, 'new'), join(root, 'a'))
    })
    expect(fates).toContain('/a read /a')
  })

  it('notices that what was a file is a hard link now', async () => {
    const { fates } = await twice(root => {
      rmSync(join(root, 'b'))
      linkSync(join(root, 'a'), join(root, 'b'))
    })
    expect(fates).toEqual(['/a read /a', '/log carried /log', '/sub/x carried /sub/x', '/sub/y carried /sub/y'])
  })

  it('is about its own settings', async () => {
    const { outcome, root } = await twice(() => {})
    expect(outcome.facts).toEqual({
      roots: [{ path: root, kind: 'directory' }],
      exclude: [],
      include: [],
      keeps: ['all-names', ...(hasAttributes() ? ['attributes'] : [])],
      mounts: expect.any(String),
    })
  })
})

describe('what a file continues', () => {
  const inode = fc.constantFrom('1:1', '1:2', '1:3')
  const file = fc.record({ path: fc.constantFrom('a', 'b', 'c', 'd'), inode, ctime: fc.constantFrom(1n, 2n) })
  const files = fc.uniqueArray(file, { selector: ({ path }) => path })

  it('is never continued by another as well, and is unchanged only where all agrees', () => {
    fc.assert(
      fc.property(files, files, (then, now) => {
        const stats = { mode: 0, uid: 0, gid: 0, size: 1, nlink: 1, mtime: 1n, born: 0n, sparse: false }
        const tree = treeOf(
          then.map(({ path, inode: number, ctime }) => ({
            ...{ path, type: 'file', mode: 0, uid: 0, gid: 0, owner: '', group: '', mtime: 0, size: 1, link: '' },
            ...{ sparse: false, base: null },
            facts: { inode: number, mtime: '1', ctime: String(ctime), born: '0', settled: true },
          })) as TreeEntry[],
        )
        const found = now.map(one => ({ ...stats, ...one, location: `/${one.path}`, type: 'file' as const, link: '' }))
        const store = new FoundStore()
        for (const one of found) store.add(one)
        expect([...store]).toEqual(found)
        const { baseOf, isUnchanged: isCarried } = continuedFiles(store, tree)
        const bases = found.map((_, at) => baseOf(at)).filter(base => base !== null)
        expect(new Set(bases).size).toBe(bases.length)
        for (const [at, one] of found.entries()) {
          const base = baseOf(at)
          expect(isCarried(at)).toBe(base !== null && isUnchanged(one, tree.fileEntry(base)))
        }
      }),
    )
  })
})
