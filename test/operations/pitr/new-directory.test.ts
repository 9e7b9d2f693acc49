import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { layoutPlace, newDirectoryAt, newMark, stageDirectory } from '../../../src/operations/pitr/new-directory.js'
import { giveDirectory } from '../../../src/system/ownership.js'
import { canMount, smallDisk } from '../../end-to-end/helpers/small-disk.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

const nobody = { uid: 65534, gid: 65534 }

/** A target below a directory of the test's own. */
function target(): string {
  return join(temporaryDirectory(), 'data')
}

/** Stages a small data directory for a target. */
async function staged(path: string) {
  const directory = await stageDirectory(path, newMark())
  mkdirSync(join(directory.staged, 'global'))
  writeFileSync(join(directory.staged, 'PG_VERSION'), '15\n')
  return directory
}

describe('where a new directory lies', () => {
  it('is the real path of what is to be, or of an empty directory', () => {
    const room = temporaryDirectory()
    mkdirSync(join(room, 'disk'))
    symlinkSync('disk', join(room, 'link'))
    expect(newDirectoryAt(join(room, 'link', 'data'), '--to')).toBe(join(room, 'disk', 'data'))
    expect(newDirectoryAt(join(room, 'link'), '--to')).toBe(join(room, 'disk'))
  })

  it('is never over anything, and names the flag that says where else', () => {
    const room = temporaryDirectory()
    writeFileSync(join(room, 'file'), '')
    for (const path of [room, join(room, 'file')]) {
      expect(() => newDirectoryAt(path, '--tablespace-map')).toThrowError(
        expect.objectContaining({
          kind: 'refused',
          code: 'target_exists',
          hint: expect.stringContaining('--tablespace-map'),
        }),
      )
    }
    for (const path of [join(room, 'file', 'data'), join(room, 'no', 'data')]) {
      expect(() => newDirectoryAt(path, '--to')).toThrowError(
        expect.objectContaining({ kind: 'not-found', code: 'target_directory_missing' }),
      )
    }
  })
})

describe('a directory made beside its place', () => {
  it('is put there whole by one rename, and taken away again', async () => {
    const path = target()
    const directory = await staged(path)
    expect([existsSync(path), statSync(directory.staged).mode & 0o777]).toEqual([false, 0o700])
    await directory.put()
    expect(readdirSync(path).sort()).toEqual(['PG_VERSION', 'global'])
    expect(readdirSync(join(path, '..'))).toEqual(['data'])
    await directory.drop()
    expect(existsSync(path)).toBe(false)
  })

  it('that was never put leaves nothing', async () => {
    const path = target()
    await (await staged(path)).drop()
    expect(readdirSync(join(path, '..'))).toEqual([])
  })

  it('takes the place of an empty one, which stays when it is taken away', async () => {
    const path = target()
    mkdirSync(path)
    const directory = await staged(path)
    await directory.put()
    expect(readFileSync(join(path, 'PG_VERSION'), 'utf8')).toBe('15\n')
    await directory.drop()
    expect(readdirSync(path)).toEqual([])
  })

  it.each([
    ['a file', (path: string) => writeFileSync(path, 'mine')],
    [
      'a directory',
      (path: string) => {
        mkdirSync(path)
        writeFileSync(join(path, 'mine'), 'mine')
      },
    ],
  ])('takes nobody’s place when %s appeared there meanwhile, and does not remove that either', async (_, appear) => {
    const path = target()
    const directory = await staged(path)
    appear(path)
    await expect(directory.put()).rejects.toMatchObject({ kind: 'refused', code: 'target_exists' })
    await directory.drop()
    expect(readdirSync(join(path, '..'))).toEqual(['data'])
    const file = statSync(path).isDirectory() ? join(path, 'mine') : path
    expect(readFileSync(file, 'utf8')).toBe('mine')
  })

  it('is closed to everybody else until it is complete', async () => {
    const directory = await staged(target())
    expect(statSync(directory.staged)).toMatchObject({ uid: process.getuid?.(), mode: 0o040700 })
  })
})

describe.skipIf(!canMount)('a directory made inside its place, which is a mount point', () => {
  function mounted(): string {
    return smallDisk(join(temporaryDirectory(), 'disk'), 4 << 20)
  }

  it('moves up there, with the mode and the owner it was to have', async () => {
    const path = mounted()
    const mark = newMark()
    expect(layoutPlace(path, mark)).toEqual({
      place: { staged: join(path, `.cluster.${mark}`), around: null },
      isInside: true,
      recorded: join(path, 'cluster'),
    })
    const directory = await staged(path)
    giveDirectory(directory.staged, nobody, 0o750)
    await directory.put()
    expect(readdirSync(path).sort()).toEqual(['PG_VERSION', 'global'])
    expect(statSync(path)).toMatchObject({ ...nobody, mode: 0o040750 })
    await directory.drop()
    expect(readdirSync(path)).toEqual([])
  })

  it('overwrites and removes nothing that appeared there meanwhile', async () => {
    const path = mounted()
    const directory = await staged(path)
    writeFileSync(join(path, 'PG_VERSION'), 'mine')
    await expect(directory.put()).rejects.toMatchObject({ kind: 'refused', code: 'target_exists' })
    await directory.drop()
    expect(readdirSync(path)).toEqual(['PG_VERSION'])
    expect(readFileSync(join(path, 'PG_VERSION'), 'utf8')).toBe('mine')
  })
})
