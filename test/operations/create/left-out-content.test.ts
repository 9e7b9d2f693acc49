import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { FilesSourceSettings } from '../../../src/config/settings.js'
import { restore } from '../../../src/operations/restore.js'
import { canMount } from '../../end-to-end/helpers/small-disk.js'
import { type Directories, directories } from '../directories.js'

const signature = 'Signature: 8a477f597d28d172789f06886806bc55'
const settings: Partial<FilesSourceSettings> = { excludeCaches: true, excludeIfPresent: ['.nobackup', 'skip me'] }

/** Files below the first root, each holding its own name or the text given. */
function fill(place: Directories, ...files: (string | [string, string])[]): void {
  for (const file of files) {
    const [name, text] = typeof file === 'string' ? [file, file] : file
    mkdirSync(join(place.uploads, name, '..'), { recursive: true })
    writeFileSync(join(place.uploads, name), text)
  }
}

/** Every file that a restore beside gives back, below the first root. */
async function restored(place: Directories, backup: string): Promise<string[]> {
  const path = join(place.room, `beside-${backup}`)
  await restore(place.context, place.journal, place.restoring({ kind: 'path', path, force: false }, { backup }))
  return listed(join(path, place.uploads))
}

function listed(root: string): string[] {
  const entries = readdirSync(root, { recursive: true, withFileTypes: true })
  return entries
    .filter(entry => !entry.isDirectory() || readdirSync(join(entry.parentPath, entry.name)).length === 0)
    .map(entry => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort()
}

function inPlace(place: Directories, backup = 'up') {
  return restore(place.context, place.journal, place.restoring({ kind: 'in-place', source: place.source }, { backup }))
}

function mounted(...args: string[]): void {
  const path = args.at(-1) ?? ''
  execFileSync('mount', args)
  onTestFinished(() => {
    try {
      execFileSync('umount', ['--lazy', path], { stdio: 'ignore' })
    } catch {
      // The test has done it.
    }
  })
}

describe('directories that hold a mark', () => {
  it('are kept with the mark and without their content, and only those', async () => {
    const place = directories({ ...settings, exclude: ['never/'], include: ['keep.txt', 'wanted/'] })
    fill(
      place,
      ['cache/CACHEDIR.TAG', `${signature}\n# made by x`],
      'cache/a',
      'cache/deep/er/b',
      'cache/deep/er/keep.txt',
      'cache/wanted/all',
      ['forged/CACHEDIR.TAG', signature.replace('8a', '8b')],
      'forged/kept',
      ['short/CACHEDIR.TAG', signature.slice(0, -1)],
      'short/kept',
      'linked/kept',
      'marked/.nobackup',
      'marked/gone',
      'spaced/skip me',
      'spaced/gone',
      'other/.nobackup2',
      'never/.nobackup',
    )
    symlinkSync('../cache/CACHEDIR.TAG', join(place.uploads, 'linked/CACHEDIR.TAG'))
    mkdirSync(join(place.uploads, 'by-directory/.nobackup'), { recursive: true })
    fill(place, 'by-directory/gone')
    const backup = await place.backUp()
    expect(backup).toMatchObject({ incomplete: false, warnings: [] })
    expect(await restored(place, backup.id)).toEqual([
      'by-directory',
      'cache/CACHEDIR.TAG',
      'cache/deep/er/keep.txt',
      'cache/wanted/all',
      'forged/CACHEDIR.TAG',
      'forged/kept',
      'linked/CACHEDIR.TAG',
      'linked/kept',
      'marked/.nobackup',
      'other/.nobackup2',
      'short/CACHEDIR.TAG',
      'short/kept',
      'spaced/skip me',
    ])
  })

  it('are no root: that one is backed up, and the result says so', async () => {
    const place = directories(settings)
    fill(place, '.nobackup', 'x')
    const backup = await place.backUp()
    expect(backup.warnings).toEqual([
      `${place.uploads} holds .nobackup and is backed up all the same: it is named in paths`,
    ])
    expect(await restored(place, backup.id)).toEqual(['.nobackup', 'x'])
  })
})

describe('a change of what is left out', () => {
  it('is followed by the next increment, either way', async () => {
    const place = directories()
    fill(place, ['cache/CACHEDIR.TAG', signature], 'cache/a', 'marked/.nobackup', 'marked/b', 'x')
    const all = listed(place.uploads)
    const without = ['cache/CACHEDIR.TAG', 'marked/.nobackup', 'x']
    const backups: string[] = []
    for (const wishes of [{}, settings, {}]) {
      delete place.source.excludeCaches
      delete place.source.excludeIfPresent
      Object.assign(place.source, wishes)
      const { id, type } = await place.backUp()
      expect(type).toBe(backups.length === 0 ? 'full' : 'incr')
      backups.push(id)
    }
    const found = await Promise.all(backups.map(id => restored(place, id)))
    expect(found).toEqual([all, without, all])
    rmSync(join(place.uploads, 'marked/.nobackup'))
    Object.assign(place.source, settings)
    const { id } = await place.backUp()
    expect(await restored(place, id)).toEqual(['cache/CACHEDIR.TAG', 'marked/b', 'x'])
  })
})

describe('a restore in place', () => {
  it('leaves alone what was left out, whatever the settings and marks are by then', async () => {
    const place = directories({ ...settings, include: ['keep.txt'] })
    const { uploads } = place
    fill(place, ['cache/CACHEDIR.TAG', signature], 'cache/a', 'marked/.nobackup', 'marked/sub/keep.txt', 'x')
    const { id } = await place.backUp()
    fill(
      place,
      ['cache/a', 'now'],
      'cache/new/b',
      'marked/sub/c',
      ['marked/sub/keep.txt', 'now'],
      ['x', 'now'],
      'later',
    )
    rmSync(join(uploads, 'marked/.nobackup'))
    delete place.source.excludeCaches
    delete place.source.excludeIfPresent
    await inPlace(place, id)
    expect(listed(uploads)).toEqual([
      'cache/CACHEDIR.TAG',
      'cache/a',
      'cache/new/b',
      'marked/.nobackup',
      'marked/sub/c',
      'marked/sub/keep.txt',
      'x',
    ])
    const content = (name: string) => readFileSync(join(uploads, name), 'utf8')
    expect(['cache/a', 'marked/sub/keep.txt', 'x'].map(content)).toEqual(['now', 'marked/sub/keep.txt', 'x'])
  })

  it('takes away what a backup without the settings did not hold', async () => {
    const place = directories()
    fill(place, ['cache/CACHEDIR.TAG', signature], 'cache/a')
    const { id } = await place.backUp()
    fill(place, 'cache/later')
    Object.assign(place.source, settings)
    await inPlace(place, id)
    expect(listed(place.uploads)).toEqual(['cache/CACHEDIR.TAG', 'cache/a'])
  })
})

describe.skipIf(!canMount)('one file system (mounting needs root)', () => {
  function mounts(place: Directories): void {
    fill(place, 'x', 'sub/y', 'bound/under', 'single')
    for (const name of ['disk', 'disk2']) mkdirSync(join(place.uploads, name))
    mounted('-t', 'tmpfs', 'none', join(place.uploads, 'disk'))
    mounted('-t', 'tmpfs', 'none', join(place.uploads, 'disk2'))
    fill(place, 'disk/a', 'disk/inner/b', 'disk2/c')
    mkdirSync(join(place.room, 'elsewhere'))
    writeFileSync(join(place.room, 'elsewhere/d'), 'd')
    mounted('--bind', join(place.room, 'elsewhere'), join(place.uploads, 'bound'))
    mounted('--bind', join(place.room, 'elsewhere/d'), join(place.uploads, 'single'))
  }

  it('leaves out each mount, bind mounts too, and names it once', async () => {
    const place = directories({ oneFileSystem: true, include: ['disk2/'] })
    mounts(place)
    for (const type of ['full', 'incr'] as const) {
      const backup = await place.backUp({ type })
      const names = ['bound', 'disk', 'disk2', 'single'].map(name => join(place.uploads, name))
      expect(backup).toMatchObject({
        incomplete: false,
        warnings: [`left out as other file systems: ${names.join(', ')}`],
      })
      expect(await restored(place, backup.id)).toEqual(['bound', 'disk', 'disk2', 'sub/y', 'x'])
    }
  })

  it('takes a root that is a mount itself', async () => {
    const place = directories({ oneFileSystem: true })
    mounted('-t', 'tmpfs', 'none', place.uploads)
    fill(place, 'x')
    const backup = await place.backUp()
    expect([backup.warnings, await restored(place, backup.id)]).toEqual([[], ['x']])
  })

  it('may be turned on and off, also when a disk is away meanwhile', async () => {
    const place = directories()
    mounts(place)
    const all = await restored(place, (await place.backUp()).id)
    expect(all).toContain('disk/inner/b')
    place.source.oneFileSystem = true
    execFileSync('umount', [join(place.uploads, 'disk2')])
    const { id, warnings } = await place.backUp()
    expect(warnings).toEqual([
      expect.stringMatching(/^left out as other file systems: [^,]*bound, [^,]*disk, [^,]*single$/),
    ])
    expect(await restored(place, id)).toEqual(['bound', 'disk', 'disk2', 'sub/y', 'x'])
    delete place.source.oneFileSystem
    mounted('-t', 'tmpfs', 'none', join(place.uploads, 'disk2'))
    fill(place, 'disk2/c')
    expect(await restored(place, (await place.backUp()).id)).toEqual(all)
  })

  it('still misses the files of a root whose disk is away', async () => {
    const place = directories({ oneFileSystem: true })
    mounted('-t', 'tmpfs', 'none', place.uploads)
    fill(place, 'x')
    await place.backUp()
    execFileSync('umount', [place.uploads])
    await expect(place.backUp()).rejects.toThrow('source_emptied')
  })

  it('leaves alone in a restore in place what lies where something was mounted', async () => {
    const place = directories({ oneFileSystem: true })
    mounts(place)
    const { id } = await place.backUp()
    for (const name of ['disk', 'disk2', 'bound', 'single']) execFileSync('umount', [join(place.uploads, name)])
    fill(place, 'disk/written-later', ['x', 'now'])
    await inPlace(place, id)
    expect(listed(place.uploads)).toEqual(['bound/under', 'disk/written-later', 'disk2', 'single', 'sub/y', 'x'])
    expect(existsSync(join(place.uploads, 'x')) && readFileSync(join(place.uploads, 'x'), 'utf8')).toBe('x')
  })
})
