import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { TreeEntry } from '../../../src/image/tree/types.js'
import { captureFiles } from '../../../src/sources/files/capture.js'
import { CHUNK_BYTES } from '../../../src/sources/files/read-file.js'
import { decimalSeconds } from '../../../src/sources/files/tar-header.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { differences, gathered, isRoot, noise, portrait, unpack } from './trees.js'

const surroundings = { now: () => new Date(), signal: new AbortController().signal }
/** Large enough to be read in pieces, and not held by the buffers on the way. */
const LARGE = 24 * 1024 * 1024

async function capture(paths: string[], options: { signal?: AbortSignal } = {}) {
  const settings = { name: 'up', paths, exclude: [], include: [] }
  const capturing = await captureFiles(settings, { ...surroundings, ...options })
  const input = await capturing.open(null)
  return { capturing, input }
}

async function captured(paths: string[]) {
  const { capturing, input } = await capture(paths)
  const tar = await gathered(input.tar)
  return { tar, outcome: await capturing.finish() }
}

/** Captures a tree, doing something once the first bytes of a large file were read. */
async function changedMeanwhile(root: string, change: () => void) {
  const { capturing, input } = await capture([root])
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of input.tar) {
    if (bytes < CHUNK_BYTES && bytes + chunk.length >= CHUNK_BYTES) change()
    bytes += chunk.length
    chunks.push(chunk)
  }
  const into = temporaryDirectory()
  unpack(Buffer.concat(chunks), into)
  return { outcome: await capturing.finish(), restored: join(into, root) }
}

describe('the archive', () => {
  it('gives the tree back with GNU tar: contents, modes, owners, times, links of both kinds, odd names', async () => {
    const root = join(temporaryDirectory(), 'up')
    const long = `${'directory-with-a-long-name/'.repeat(12)}${'ä'.repeat(100)}`
    mkdirSync(join(root, long, '..'), { recursive: true })
    const names = [
      'empty',
      'small',
      'back\\slash',
      'ends with\\',
      'c:drive',
      ' spaces ',
      'new\nline',
      '...',
      '-rf',
      'Ωmega',
      long,
    ]
    for (const [at, name] of names.entries()) writeFileSync(join(root, name), noise(at * 700, at))
    writeFileSync(join(root, 'large'), noise(3 * 1024 * 1024 + 17, 1))
    mkdirSync(join(root, 'dir\\'))
    writeFileSync(join(root, 'dir\\/inside'), 'x')
    linkSync(join(root, 'small'), join(root, 'zz-second-name'))
    linkSync(join(root, long), join(root, 'zz-of-long'))
    symlinkSync('small', join(root, 'link'))
    symlinkSync(`/${'far/'.repeat(60)}back\\slash/`, join(root, 'long-link'))
    chmodSync(join(root, 'small'), 0o4750)
    chmodSync(join(root, 'empty'), 0o000)
    chmodSync(join(root, 'dir\\'), 0o1777)
    utimesSync(join(root, 'small'), 1.5e9, 1.5e9 + 0.25)
    utimesSync(join(root, 'empty'), -86_400, -86_400)
    utimesSync(join(root, '...'), 5e9, 5e9)
    lutimesSync(join(root, 'link'), 1.4e9, 1.4e9)
    if (isRoot) {
      chownSync(join(root, '-rf'), 1234, 5678)
      chownSync(join(root, 'large'), 4_000_000, 300_000)
      chmodSync(join(root, 'small'), 0o4750)
    }
    const { tar, outcome } = await captured([root])
    const into = temporaryDirectory()
    unpack(tar, into)
    expect(differences(portrait(join(into, root)), portrait(root))).toEqual([])
    expect(outcome).toMatchObject({ incomplete: false, warnings: [], checks: [] })
  })

  it('is described entry by entry, with what a header cannot say', async () => {
    const root = join(temporaryDirectory(), 'up')
    mkdirSync(root)
    writeFileSync(join(root, 'x'), 'content')
    truncateSync(join(root, 'x'), 1024 * 1024)
    const { input } = await capture([root])
    await gathered(input.tar)
    const header = (path: string): TreeEntry => {
      const rest = {
        mode: 0,
        uid: 0,
        gid: 0,
        owner: '',
        group: '',
        mtime: 0,
        size: 0,
        link: '',
        sparse: false,
        base: null,
      }
      return { path, type: 'file', ...rest, facts: {} }
    }
    expect(input.describe(header(`${root.slice(1)}/`))).toMatchObject({ type: 'directory', facts: {} })
    expect(input.describe(header(`${root.slice(1)}/x`))).toMatchObject({
      type: 'file',
      size: 1024 * 1024,
      sparse: true,
      base: null,
      facts: { settled: false, inode: expect.stringMatching(/^\d+:\d+$/), ctime: expect.stringMatching(/^\d{19}$/) },
    })
    expect(() => input.describe(header('never/seen'))).toThrow('never/seen')
  })

  it('holds the root / without an entry of its own', async () => {
    const root = temporaryDirectory()
    writeFileSync(join(root, 'x'), '1')
    const settings = { name: 'all', paths: ['/'], exclude: ['/*'], include: [join(root, 'x')] }
    const capturing = await captureFiles(settings, surroundings)
    const into = temporaryDirectory()
    unpack(await gathered((await capturing.open(null)).tar), into)
    expect(readFileSync(join(into, root, 'x'), 'utf8')).toBe('1')
  })

  it('ends at once when its reader stops, in the middle of a large file, and leaves nothing open', async () => {
    const root = join(temporaryDirectory(), 'up')
    mkdirSync(root)
    writeFileSync(join(root, 'large'), noise(LARGE, 1))
    const { input } = await capture([root])
    for await (const _ of input.tar) break
    const open = readdirSync('/proc/self/fd').map(fd => linkOf(fd))
    expect(open.filter(name => name.startsWith(root))).toEqual([])
  })

  it('stops at a signal', async () => {
    const root = join(temporaryDirectory(), 'up')
    mkdirSync(root)
    for (let at = 0; at < 200; at += 1) writeFileSync(join(root, `${at}`), noise(100_000, at))
    const controller = new AbortController()
    const { input } = await capture([root], { signal: controller.signal })
    const reading = (async () => {
      for await (const _ of input.tar) controller.abort(new Error('stopped'))
    })()
    await expect(reading).rejects.toThrow('stopped')
  })

  it('stops at a signal in the middle of a large file, and leaves nothing open', async () => {
    const root = join(temporaryDirectory(), 'up')
    mkdirSync(root)
    writeFileSync(join(root, 'large'), '')
    truncateSync(join(root, 'large'), 20 * LARGE)
    const controller = new AbortController()
    const { input } = await capture([root], { signal: controller.signal })
    let bytes = 0
    const reading = (async () => {
      for await (const chunk of input.tar) {
        bytes += chunk.length
        controller.abort(new Error('stopped'))
      }
    })()
    await expect(reading).rejects.toThrow('stopped')
    expect(bytes).toBeLessThan(LARGE)
    const open = readdirSync('/proc/self/fd').map(fd => linkOf(fd))
    expect(open.filter(name => name.startsWith(root))).toEqual([])
  })
})

describe('a file that changes while the tree is read', () => {
  it('and shrinks keeps its size, with zeros for what is gone, and is told', async () => {
    const root = join(temporaryDirectory(), 'up')
    mkdirSync(root)
    writeFileSync(join(root, 'large'), noise(LARGE, 1))
    const { outcome, restored } = await changedMeanwhile(root, () => truncateSync(join(root, 'large'), 1024))
    expect(outcome).toMatchObject({ incomplete: true, warnings: [expect.stringContaining('shrank')] })
    const content = readFileSync(join(restored, 'large'))
    expect(content.length).toBe(LARGE)
    expect(content.subarray(0, 1024)).toEqual(noise(1024, 1))
    expect(content.at(-1)).toBe(0)
  })

  it('and grows ends where it ended when it was opened; that is no loss', async () => {
    const root = join(temporaryDirectory(), 'up')
    mkdirSync(root)
    const before = noise(LARGE, 1)
    writeFileSync(join(root, 'log'), before)
    const { outcome, restored } = await changedMeanwhile(root, () => appendFileSync(join(root, 'log'), 'one more line'))
    expect(outcome).toMatchObject({ incomplete: false, warnings: [] })
    expect(readFileSync(join(restored, 'log')).equals(before)).toBe(true)
  })

  it('and is written in the middle is told', async () => {
    const root = join(temporaryDirectory(), 'up')
    mkdirSync(root)
    writeFileSync(join(root, 'large'), noise(LARGE, 1))
    const { outcome } = await changedMeanwhile(root, () => {
      const fd = openSync(join(root, 'large'), 'r+')
      writeSync(fd, 'other', 1000)
      closeSync(fd)
    })
    expect(outcome).toMatchObject({
      incomplete: true,
      warnings: [expect.stringContaining('changed while it was read')],
    })
  })

  it('and vanishes is left out and told, and its next name has its content', async () => {
    const root = join(temporaryDirectory(), 'up')
    mkdirSync(root)
    writeFileSync(join(root, 'a-large'), noise(LARGE, 1))
    for (const name of ['gone', 'named']) writeFileSync(join(root, name), name)
    for (const name of ['named-2', 'named-3']) linkSync(join(root, 'named'), join(root, name))
    const { outcome, restored } = await changedMeanwhile(root, () => {
      rmSync(join(root, 'gone'))
      rmSync(join(root, 'named'))
    })
    expect(readdirSync(restored).sort()).toEqual(['a-large', 'named', 'named-2', 'named-3'])
    expect(outcome).toMatchObject({ incomplete: true, warnings: [expect.stringContaining('gone vanished')] })
  })

  it('and has a further name is stored under that with its own content when the first name means another file', async () => {
    const root = join(temporaryDirectory(), 'up')
    mkdirSync(join(root, 'z'), { recursive: true })
    writeFileSync(join(root, 'a-large'), noise(LARGE, 1))
    for (const name of ['first', 'other']) {
      writeFileSync(join(root, name), `${name}, as it was`)
      for (const further of ['-2', '-3']) linkSync(join(root, name), join(root, 'z', name + further))
    }
    const { outcome, restored } = await changedMeanwhile(root, () => {
      writeFileSync(join(root, '.new'), 'new')
      renameSync(join(root, '.new'), join(root, 'first'))
      // Its number may well be given to the next one.
      for (const name of ['other', 'z/other-2']) unlinkSync(join(root, name))
      writeFileSync(join(root, 'other'), 'another one')
    })
    const content = (name: string) => readFileSync(join(restored, name), 'utf8')
    expect(['first', 'z/first-2', 'z/first-3'].map(content)).toEqual(['new', 'first, as it was', 'first, as it was'])
    expect(statSync(join(restored, 'z/first-2')).ino).toBe(statSync(join(restored, 'z/first-3')).ino)
    expect([content('other'), content('z/other-3')]).toEqual(['another one', 'other, as it was'])
    expect(outcome).toMatchObject({ incomplete: false, warnings: [] })
  })

  it('by a new name for it, and the loss of another, stays one file', async () => {
    const root = join(temporaryDirectory(), 'up')
    mkdirSync(root)
    writeFileSync(join(root, 'a-large'), noise(LARGE, 1))
    writeFileSync(join(root, 'b'), 'one file')
    for (const name of ['c', 'd']) linkSync(join(root, 'b'), join(root, name))
    const { outcome, restored } = await changedMeanwhile(root, () => {
      linkSync(join(root, 'b'), join(root, 'e'))
      writeFileSync(join(root, '.new'), 'new')
      renameSync(join(root, '.new'), join(root, 'c'))
    })
    expect(statSync(join(restored, 'b')).ino).toBe(statSync(join(restored, 'd')).ino)
    expect(readFileSync(join(restored, 'c'), 'utf8')).toBe('new')
    expect(outcome).toMatchObject({ incomplete: false })
  })

  it('and is rotated with its log is followed to its new name', async () => {
    const root = join(temporaryDirectory(), 'up')
    mkdirSync(root)
    writeFileSync(join(root, 'a-large'), noise(LARGE, 1))
    writeFileSync(join(root, 'app.log'), 'newest')
    writeFileSync(join(root, 'app.log.1'), 'older')
    const { outcome, restored } = await changedMeanwhile(root, () => {
      renameSync(join(root, 'app.log.1'), join(root, 'app.log.2'))
      renameSync(join(root, 'app.log'), join(root, 'app.log.1'))
      writeFileSync(join(root, 'app.log'), 'begun')
    })
    expect(outcome).toMatchObject({ incomplete: false, warnings: [] })
    expect(readFileSync(join(restored, 'app.log'), 'utf8')).toBe('newest')
    expect(readFileSync(join(restored, 'app.log.1'), 'utf8')).toBe('older')
  })

  it('and is rotated while it is being read is read to its end', async () => {
    const root = join(temporaryDirectory(), 'up')
    mkdirSync(root)
    const before = noise(LARGE, 1)
    writeFileSync(join(root, 'app.log'), before)
    const { outcome, restored } = await changedMeanwhile(root, () => {
      renameSync(join(root, 'app.log'), join(root, 'app.log.1'))
      writeFileSync(join(root, 'app.log'), 'begun')
    })
    expect(outcome).toMatchObject({ incomplete: false, warnings: [] })
    expect(readFileSync(join(restored, 'app.log')).equals(before)).toBe(true)
  })

  it('and is replaced as a whole is taken as it is now', async () => {
    const root = join(temporaryDirectory(), 'up')
    mkdirSync(root)
    writeFileSync(join(root, 'a-large'), noise(LARGE, 1))
    writeFileSync(join(root, 'config'), 'old')
    const { outcome, restored } = await changedMeanwhile(root, () => {
      writeFileSync(join(root, '.config.new'), 'new')
      renameSync(join(root, '.config.new'), join(root, 'config'))
    })
    expect(outcome).toMatchObject({ incomplete: false, warnings: [] })
    expect(readFileSync(join(restored, 'config'), 'utf8')).toBe('new')
  })

  it('into a link, or its directory into one, leads nowhere else', async () => {
    const room = temporaryDirectory()
    const root = join(room, 'up')
    mkdirSync(join(root, 'sub'), { recursive: true })
    mkdirSync(join(room, 'secret'))
    writeFileSync(join(room, 'secret/b'), 'secret')
    writeFileSync(join(root, 'a-large'), noise(LARGE, 1))
    writeFileSync(join(root, 'c'), 'mine')
    writeFileSync(join(root, 'sub/b'), 'mine')
    const { outcome, restored } = await changedMeanwhile(root, () => {
      unlinkSync(join(root, 'c'))
      symlinkSync(join(room, 'secret/b'), join(root, 'c'))
      rmSync(join(root, 'sub'), { recursive: true })
      symlinkSync(join(room, 'secret'), join(root, 'sub'))
    })
    expect(outcome.warnings).toEqual([
      expect.stringContaining('/c was replaced'),
      expect.stringContaining('/sub/b was replaced'),
    ])
    expect(Object.keys(portrait(restored).entries).sort()).toEqual(['.', 'a-large', 'sub'])
  })

  it.skipIf(isRoot)('and cannot be opened is left out and told (root can open all)', async () => {
    const root = temporaryDirectory()
    writeFileSync(join(root, 'closed'), 'x', { mode: 0 })
    const { outcome } = await captured([root])
    expect(outcome).toMatchObject({ incomplete: true, warnings: [expect.stringContaining('cannot be read')] })
  })
})

describe('times in an extended header', () => {
  it.each([
    [1_700_000_000_123_456_789n, '1700000000.123456789'],
    [-1n, '-0.000000001'],
    [-1_500_000_000n, '-1.500000000'],
    [0n, '0.000000000'],
  ])('%s nanoseconds are %s seconds', (nanoseconds, expected) => {
    expect(decimalSeconds(nanoseconds)).toBe(expected)
  })
})

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return ''
  }
}
