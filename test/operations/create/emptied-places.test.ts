import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { TreeEntry } from '../../../src/image/tree/types.js'
import { create } from '../../../src/operations/create.js'
import type { CreateRequest } from '../../../src/operations/requests.js'
import { emptiedPlaces } from '../../../src/sources/files/emptied-places.js'
import { newRemarks } from '../../../src/sources/files/remarks.js'
import { findRoots } from '../../../src/sources/files/roots.js'
import { walk } from '../../../src/sources/files/walk.js'
import { canMount } from '../../end-to-end/helpers/small-disk.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { makeTooDeep } from '../../helpers/too-deep.js'
import { createRequest } from '../application.js'
import { type Directories, directories } from '../directories.js'

/** A file system in memory; taken away when the test ends, if it was not before. */
function mounted(path: string): void {
  mkdirSync(path, { recursive: true })
  execFileSync('mount', ['-t', 'tmpfs', 'none', path])
  onTestFinished(() => {
    try {
      execFileSync('umount', ['--lazy', path], { stdio: 'ignore' })
    } catch {
      // The test has done it.
    }
  })
}

function unmounted(path: string): void {
  execFileSync('umount', [path])
}

function fill(...files: string[]): void {
  for (const file of files) {
    mkdirSync(join(file, '..'), { recursive: true })
    writeFileSync(file, file)
  }
}

async function refusalOf(place: Directories, wishes: Partial<CreateRequest> = {}) {
  const request = createRequest([place.source], wishes)
  const { failures } = await create(place.context, place.journal, request)
  return failures[0]
}

const refused = { kind: 'refused', code: 'source_emptied', hint: expect.stringContaining('--allow-emptied') }

describe.skipIf(!canMount)('files that are gone with their file system (mounting needs root)', () => {
  it('are missed by every kind of backup, until they are there again or given up', async () => {
    const place = directories()
    mounted(place.uploads)
    fill(join(place.uploads, 'sub/x'), join(place.logs, 'log'))
    await place.backUp()
    unmounted(place.uploads)
    for (const type of ['auto', 'full', 'incr'] as const) {
      const message = expect.stringMatching(
        new RegExp(`${place.uploads} held one file in \\S+, lies on another file system now and holds none of them`),
      )
      expect(await refusalOf(place, { type })).toMatchObject({ ...refused, message })
      expect(await refusalOf(place, { type, dryRun: true }), 'the plan').toMatchObject({ ...refused, message })
    }
    expect(await refusalOf(place, { dryRun: true, allowEmptied: true })).toBeUndefined()
    mounted(place.uploads)
    fill(join(place.uploads, 'sub/x'))
    expect((await place.backUp()).incomplete).toBe(false)
    unmounted(place.uploads)
    const allowed = await place.backUp({ allowEmptied: true })
    expect(allowed).toMatchObject({ incomplete: false, warnings: [expect.stringContaining('holds none of them')] })
    expect((await place.backUp()).warnings).toEqual([])
  })

  it.each([
    ['a disk below a root', 'disk', () => {}],
    ['a disk far below a root', 'a/b/disk', () => {}],
    ['a disk whose mount point is gone too', 'media/disk', (disk: string) => rmdirSync(disk)],
    ['a disk in whose place something was written', 'disk', (disk: string) => fill(join(disk, 'stray'))],
    ['a disk in whose place an empty one is', 'disk', (disk: string) => mounted(disk)],
  ])('are missed: %s', async (_, name, after) => {
    const place = directories()
    const disk = join(place.uploads, name)
    mounted(disk)
    fill(join(disk, 'x'), join(disk, 'sub/y'), join(place.uploads, 'beside'))
    await place.backUp()
    unmounted(disk)
    after(disk)
    expect(await refusalOf(place)).toMatchObject({
      ...refused,
      message: expect.stringContaining(`${disk} held 2 files`),
    })
  })

  it('are missed: a directory that an empty disk lies over', async () => {
    const place = directories()
    const sub = join(place.uploads, 'sub')
    fill(join(sub, 'x'), join(place.uploads, 'beside'))
    await place.backUp()
    mounted(sub)
    expect(await refusalOf(place, { type: 'full' })).toMatchObject({
      ...refused,
      message: expect.stringContaining(sub),
    })
  })

  it('are missed when the backups since were not complete', async () => {
    const place = directories()
    const disk = join(place.uploads, 'disk')
    mounted(disk)
    fill(join(disk, 'x'), join(place.uploads, 'beside'))
    await place.backUp()
    makeTooDeep(place.logs, 8)
    const later = join(place.uploads, 'later')
    mounted(later)
    fill(join(later, 'x'))
    expect((await place.backUp()).incomplete).toBe(true)
    unmounted(later)
    expect(await refusalOf(place)).toMatchObject({ ...refused, message: expect.stringContaining(later) })
    expect((await place.backUp({ allowEmptied: true })).incomplete).toBe(true)
    unmounted(disk)
    expect(await refusalOf(place)).toMatchObject({ ...refused, message: expect.stringContaining(disk) })
    await place.backUp({ allowEmptied: true })
    expect((await place.backUp()).incomplete).toBe(true)
  })

  it('are not missed when they lie on another disk now, or were deleted where they are', async () => {
    const place = directories()
    const [disk, other] = [join(place.uploads, 'disk'), join(place.uploads, 'other')]
    mounted(disk)
    fill(join(disk, 'x'), join(disk, 'y'), join(other, 'z'))
    await place.backUp()
    unmounted(disk)
    fill(join(disk, 'x'))
    rmSync(join(other, 'z'))
    expect((await place.backUp()).warnings).toEqual([])
    rmSync(join(disk, 'x'))
    mounted(join(place.logs, 'new'))
    expect((await place.backUp()).warnings).toEqual([])
  })
})

describe('an older list, which does not tell where file systems begin', () => {
  const surroundings = { remarks: newRemarks(), signal: new AbortController().signal }
  const file = (path: string, device: string): TreeEntry => ({
    path: path.slice(1),
    type: 'file',
    mode: 0o644,
    uid: 0,
    gid: 0,
    owner: '',
    group: '',
    mtime: 0,
    size: 1,
    link: '',
    sparse: false,
    base: null,
    facts: { inode: `${device}:7` },
  })

  it('tells it by the devices of its files', async () => {
    const room = temporaryDirectory()
    const root = join(room, 'up')
    mkdirSync(join(root, 'disk'), { recursive: true })
    const roots = findRoots({ name: 'up', paths: [root] })
    const places = await walk(roots, { exclude: [], include: [] }, surroundings, () => {})
    const here = places[0]?.device ?? ''
    const missed = (...before: TreeEntry[]) => emptiedPlaces({ roots, places }, () => before)
    const disk = { path: join(root, 'disk'), location: join(root, 'disk'), files: 2 }
    const [a, b] = [file(join(root, 'disk/a'), '99999'), file(join(root, 'disk/sub/b'), '99999')]
    expect(missed(a, b, file(join(root, 'c'), here))).toEqual([disk])
    expect(missed(file(join(root, 'disk/a'), here), file(join(room, 'elsewhere/x'), '99999'))).toEqual([])
    writeFileSync(join(root, 'disk/a'), 'a')
    expect(missed(a, b)).toEqual([])
    renameSync(join(root, 'disk/a'), join(root, 'disk/z'))
    expect(missed(b, a)).toEqual([disk])
  })
})
