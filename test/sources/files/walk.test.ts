import { execFileSync } from 'node:child_process'
import { chmodSync, linkSync, mkdirSync, renameSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { captureFiles } from '../../../src/sources/files/capture.js'
import type { Found } from '../../../src/sources/files/found.js'
import { probeFiles } from '../../../src/sources/files/probe.js'
import { newRemarks } from '../../../src/sources/files/remarks.js'
import { findRoots } from '../../../src/sources/files/roots.js'
import { walk } from '../../../src/sources/files/walk.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { isRoot } from './trees.js'

const { signal } = new AbortController()

async function walked(paths: string[], { exclude = [] as string[], include = [] as string[] } = {}) {
  const remarks = newRemarks()
  const found: Found[] = []
  await walk(findRoots({ name: 'up', paths }), { exclude, include }, { remarks, signal }, one => found.push(one))
  return { found, remarks, names: found.map(({ path, type }) => `${type} /${path}`) }
}

function fill(root: string, files: string[]): void {
  for (const file of files) {
    const path = join(root, file)
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, file)
  }
}

describe('the walk', () => {
  it('finds everything below several roots, a directory before what it holds, links as links', async () => {
    const room = temporaryDirectory()
    fill(room, ['a/x', 'a/sub/y', 'single', 'b/z'])
    symlinkSync('/etc/passwd', join(room, 'a/out'))
    symlinkSync('nowhere', join(room, 'a/dangling'))
    const { names, remarks } = await walked([join(room, 'a'), join(room, 'single')])
    expect(names).toEqual([
      `directory ${room}/a`,
      `symlink ${room}/a/dangling`,
      `symlink ${room}/a/out`,
      `directory ${room}/a/sub`,
      `file ${room}/a/sub/y`,
      `file ${room}/a/x`,
      `file ${room}/single`,
    ])
    expect(remarks.warnings()).toEqual([])
  })

  it('names a file once and its further names as hard links, over all roots', async () => {
    const room = temporaryDirectory()
    fill(room, ['a/x', 'b/z'])
    linkSync(join(room, 'a/x'), join(room, 'b/second'))
    const { found } = await walked([join(room, 'a'), join(room, 'b')])
    const link = found.find(({ type }) => type === 'hardlink')
    expect(link).toMatchObject({ path: `${room}/b/second`.slice(1), link: `${room}/a/x`.slice(1) })
  })

  it('is led nowhere else by a directory above that becomes a link', async () => {
    const room = temporaryDirectory()
    fill(room, ['up/b/sub/mine', 'secret/sub/theirs'])
    symlinkSync('hidden', join(room, 'secret/sub/link'))
    const remarks = newRemarks()
    const found: string[] = []
    const rules = { exclude: [], include: [] }
    await walk(findRoots({ name: 'up', paths: [join(room, 'up')] }), rules, { remarks, signal }, ({ path, type }) => {
      found.push(`${type} ${path.slice(room.length - 1)}`)
      if (!path.endsWith('up/b')) return
      renameSync(join(room, 'up/b'), join(room, 'up/c'))
      symlinkSync(join(room, 'secret'), join(room, 'up/b'))
    })
    expect(found).toEqual(['directory /up', 'directory /up/b', 'directory /up/b/sub'])
    expect(remarks.warnings()).toEqual([expect.stringContaining('/up/b/sub was replaced while it was listed')])
  })

  it('follows a root that is a symbolic link, under the name that is configured', async () => {
    const room = temporaryDirectory()
    fill(room, ['real/x'])
    symlinkSync('real', join(room, 'up'))
    const { found } = await walked([join(room, 'up')])
    expect(found.map(({ path, location, type }) => ({ path, location, type }))).toEqual([
      { path: `${room}/up`.slice(1), location: join(room, 'real'), type: 'directory' },
      { path: `${room}/up/x`.slice(1), location: join(room, 'real/x'), type: 'file' },
    ])
  })

  it('leaves out what is excluded, with all it holds, and takes what is included all the same', async () => {
    const room = temporaryDirectory()
    const root = join(room, 'up')
    fill(root, ['a.tmp', 'keep', 'cache/x', 'cache/deep/keep.me', 'cache/deep/not', 'important/a.tmp', 'sub/b.tmp'])
    const rules = { exclude: ['*.tmp', 'cache/'], include: ['keep.me', `${root}/important/`] }
    const { names } = await walked([root], rules)
    expect(names.map(name => name.replace(`${root}`, ''))).toEqual([
      'directory ',
      'directory /cache',
      'directory /cache/deep',
      'file /cache/deep/keep.me',
      'directory /important',
      'file /important/a.tmp',
      'file /keep',
      'directory /sub',
    ])
  })

  it('skips sockets with one note, which does not make the backup incomplete', async () => {
    const room = temporaryDirectory()
    fill(room, ['x'])
    const server = createServer().listen(join(room, 'socket'))
    await new Promise(resolve => server.once('listening', resolve))
    const { names, remarks } = await walked([room])
    server.close()
    expect(names).toEqual([`directory ${room}`, `file ${room}/x`])
    expect(remarks.incomplete).toBe(false)
    expect(remarks.warnings()).toEqual([expect.stringContaining('left out as no files: ')])
  })

  it('finds names that are not UTF-8, and patterns match them', async () => {
    const room = temporaryDirectory()
    for (const name of ['caf\xe9', 'caf\xe9.tmp', 'r\xe9sum\xe9'])
      writeFileSync(Buffer.from(`${room}/${name}`, 'latin1'), 'latin-1')
    const { names, remarks } = await walked([room], { exclude: ['*.tmp', 'r?sum?'], include: [] })
    expect(names).toEqual([`directory ${room}`, `file ${room}/caf\udce9`])
    expect(remarks.incomplete).toBe(false)
  })

  it('finds pipes and devices, and further names of what is no file', async () => {
    const room = temporaryDirectory()
    execFileSync('mkfifo', [join(room, 'pipe')])
    symlinkSync('caf\u00e9', join(room, 'soft'))
    linkSync(join(room, 'soft'), join(room, 'soft-too'))
    const { names, remarks } = await walked([room])
    const expected = ['fifo /pipe', 'symlink /soft', 'hardlink /soft-too'].map(one => one.replace('/', `${room}/`))
    expect(names).toEqual([`directory ${room}`, ...expected])
    expect(remarks.warnings()).toEqual([])
  })

  it.skipIf(isRoot)('says that a directory cannot be read (root can read all)', async () => {
    const room = temporaryDirectory()
    fill(room, ['closed/x'])
    chmodSync(join(room, 'closed'), 0)
    const { remarks } = await walked([room])
    chmodSync(join(room, 'closed'), 0o700)
    expect(remarks.incomplete).toBe(true)
    expect(remarks.warnings()).toEqual([expect.stringContaining('closed cannot be listed')])
  })

  it('tells no terminal what a hostile name wants it to', async () => {
    const room = temporaryDirectory()
    const remarks = newRemarks()
    remarks.skipped(join(room, '\u001b[2Jpipe\n'))
    expect(remarks.warnings().join()).not.toMatch(/[\p{Cc}]/u)
    expect(remarks.warnings().join()).toContain('[2Jpipe')
  })

  it('tells of many problems in few lines', () => {
    const remarks = newRemarks()
    for (let at = 0; at < 1000; at += 1) remarks.problem(`problem ${at}`)
    expect(remarks.warnings()).toHaveLength(21)
    expect(remarks.warnings().at(-1)).toContain('980 more')
  })

  it('stops at a signal', async () => {
    const room = temporaryDirectory()
    fill(room, ['x'])
    const stopped = walk(
      findRoots({ name: 'up', paths: [room] }),
      { exclude: [], include: [] },
      {
        remarks: newRemarks(),
        signal: AbortSignal.abort(new Error('stopped')),
      },
      () => {},
    )
    await expect(stopped).rejects.toThrow('stopped')
  })

  it('recognises files with holes', async () => {
    const room = temporaryDirectory()
    fill(room, ['holes'])
    truncateSync(join(room, 'holes'), 1024 * 1024 * 100)
    writeFileSync(join(room, 'full'), Buffer.alloc(100_000, 1), { flush: true })
    const { found } = await walked([room])
    const sparse = Object.fromEntries(found.map(({ path, sparse }) => [path.split('/').at(-1), sparse]))
    expect(sparse).toMatchObject({ holes: true, full: false })
  })
})

describe('a root', () => {
  it('that is missing is an error and never an empty backup', () => {
    const room = temporaryDirectory()
    const settings = { name: 'up', paths: [room, join(room, 'gone')], exclude: [], include: [] }
    const missing = expect.objectContaining({ kind: 'not-found', code: 'source_missing' })
    expect(() => probeFiles(settings)).toThrow(missing)
  })

  it.each(['/proc', '/dev/null'])('%s is refused, for it holds no files', path => {
    expect(() => findRoots({ name: 'up', paths: [path] })).toThrow(expect.objectContaining({ code: 'source_special' }))
  })

  it('has the bytes of its files', async () => {
    const room = temporaryDirectory()
    fill(room, ['12345', 'a/123'])
    const settings = { name: 'up', paths: [room], exclude: ['a/'], include: [] }
    expect(await captureFiles(settings, { now: () => new Date(), signal })).toMatchObject({ size: 5 })
  })
})

describe.skipIf(!isRoot)('mounted file systems (mounting needs root)', () => {
  it('belong to the tree, but for those of the kernel', async context => {
    const room = temporaryDirectory()
    mkdirSync(join(room, 'disk'))
    mkdirSync(join(room, 'proc'))
    const mount = (...words: string[]) => execFileSync('mount', words)
    try {
      mount('-t', 'tmpfs', 'none', join(room, 'disk'))
    } catch {
      return context.skip('nothing may be mounted here')
    }
    try {
      mount('--bind', '/proc', join(room, 'proc'))
      fill(room, ['disk/x'])
      const { names, remarks } = await walked([room])
      expect(names).toEqual([
        `directory ${room}`,
        `directory ${room}/disk`,
        `file ${room}/disk/x`,
        `directory ${room}/proc`,
      ])
      expect(remarks.incomplete).toBe(false)
    } finally {
      execFileSync('umount', ['-q', join(room, 'proc')], { stdio: 'ignore' })
      execFileSync('umount', [join(room, 'disk')])
    }
  })
})
