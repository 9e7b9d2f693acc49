import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { HeldDirectory } from '../../src/system/held-directory.js'
import { copyName, moveName, removeIn, removeName, removeTree } from '../../src/system/names.js'
import { giveDirectory, giveNewFile, makeDirectoryFor } from '../../src/system/ownership.js'
import { dropStaging, moveIntoPlace, Staging, stagingPlace, whileStaging } from '../../src/system/staging.js'
import { hasForeignLink, isOursAlone, trustedPath } from '../../src/system/trusted-path.js'
import { temporaryDirectory } from '../helpers/temporary.js'

const isRoot = process.getuid?.() === 0
const nobody = { uid: 65534, gid: 65534 }
const refused = expect.objectContaining({ kind: 'refused', code: 'directory_exchanged' })

/** A directory of the test's own, one that it must not touch, and a link to that in the first. */
function rooms() {
  const room = temporaryDirectory()
  const own = join(room, 'own')
  const other = join(room, 'other')
  mkdirSync(own)
  mkdirSync(other)
  writeFileSync(join(other, 'file'), 'other')
  return { room, own, other, link: join(own, 'link') }
}

describe('a held directory', () => {
  it('is none that a link leads to, be it the last part or one before it', () => {
    const { own, other, link } = rooms()
    symlinkSync(other, link)
    mkdirSync(join(other, 'inner'))
    for (const path of [link, join(link, 'inner')]) {
      expect(() => HeldDirectory.open(path)).toThrowError(refused)
    }
    const held = HeldDirectory.open(own)
    expect(() => held.enter('link')).toThrowError(refused)
    held.close()
  })

  it('stays the same when something else takes its path', () => {
    const { room, own, other } = rooms()
    const held = HeldDirectory.open(own)
    renameSync(own, join(room, 'aside'))
    symlinkSync(other, own)
    writeFileSync(held.at('new'), 'x')
    expect(held.isInPlace()).toBe(false)
    expect(readdirSync(other)).toEqual(['file'])
    expect(readdirSync(join(room, 'aside'))).toEqual(['new'])
    held.close()
  })
})

describe('names', () => {
  it('are moved, copied and removed in no directory that a link leads to', () => {
    const { own, other, link } = rooms()
    symlinkSync(other, link)
    writeFileSync(join(own, 'mine'), 'mine')
    expect(() => moveName(join(own, 'mine'), join(link, 'file'))).toThrowError(refused)
    expect(() => moveName(join(link, 'file'), join(own, 'got'))).toThrowError(refused)
    expect(() => copyName(join(link, 'file'), join(own, 'got'))).toThrowError(refused)
    expect(() => removeName(join(link, 'file'))).toThrowError(refused)
    expect(readFileSync(join(other, 'file'), 'utf8')).toBe('other')
    removeTree(link)
    expect(existsSync(join(other, 'file'))).toBe(true)
  })

  it('of a copy keep the mode, and what is a link is not copied', () => {
    const { own, other, link } = rooms()
    symlinkSync(join(other, 'file'), link)
    chmodSync(join(other, 'file'), 0o640)
    copyName(join(other, 'file'), join(own, 'copy'))
    expect(statSync(join(own, 'copy')).mode & 0o777).toBe(0o640)
    expect(() => copyName(link, join(own, 'second'))).toThrowError(/ELOOP/)
    expect(() => copyName(join(other, 'file'), join(own, 'copy'))).toThrowError(/EEXIST/)
  })

  it('are removed with all that is below, and no link is followed', () => {
    const { own, other } = rooms()
    mkdirSync(join(own, 'tree', 'inner'), { recursive: true })
    symlinkSync(other, join(own, 'tree', 'inner', 'away'))
    writeFileSync(join(own, 'tree', 'file'), '')
    removeTree(join(own, 'tree'))
    removeTree(join(own, 'tree'))
    expect(readdirSync(own)).toEqual([])
    expect(readdirSync(other)).toEqual(['file'])
  })

  it('below a held directory are removed from it and not from what took its place', () => {
    const { room, own, other } = rooms()
    mkdirSync(join(own, 'tree'))
    mkdirSync(join(other, 'tree'))
    const held = HeldDirectory.open(own)
    renameSync(own, join(room, 'aside'))
    symlinkSync(other, own)
    removeIn(held, 'tree')
    held.close()
    expect(readdirSync(other).sort()).toEqual(['file', 'tree'])
  })
})

describe('a tree that is removed', () => {
  const raw = Buffer.from([0x61, 0xff])

  it('may have names that are not UTF-8', () => {
    const path = join(temporaryDirectory(), 'tree')
    const inner = Buffer.concat([Buffer.from(`${path}/`), raw])
    mkdirSync(path)
    mkdirSync(inner)
    writeFileSync(Buffer.concat([inner, Buffer.from('/'), raw]), 'x')
    removeTree(path)
    expect(existsSync(path)).toBe(false)
  })

  it.skipIf(!isRoot)('may have directories that its owner has closed to himself', () => {
    const room = temporaryDirectory()
    chownSync(room, nobody.uid, nobody.gid)
    process.seteuid?.(nobody.uid)
    try {
      const path = join(room, 'tree')
      mkdirSync(join(path, 'a/b/c'), { recursive: true })
      writeFileSync(join(path, 'a/b/c/file'), 'x')
      for (const [name, mode] of [
        ['a/b/c', 0o000],
        ['a/b', 0o555],
        ['a', 0o300],
      ] as const)
        chmodSync(join(path, name), mode)
      removeTree(path)
      expect(existsSync(path)).toBe(false)
    } finally {
      process.seteuid?.(0)
    }
  })
})

describe.skipIf(!isRoot)('owners', () => {
  it('are given to what this user has made, and to nothing that lies there instead', () => {
    const { own, other, link } = rooms()
    expect(makeDirectoryFor(join(own, 'new'), nobody)).toBe(true)
    expect(statSync(join(own, 'new'))).toMatchObject({ ...nobody, mode: 0o040700 })
    expect(makeDirectoryFor(join(own, 'new'), nobody)).toBe(false)
    symlinkSync(join(other, 'file'), link)
    expect(() => giveNewFile(link, nobody)).toThrowError(/ELOOP/)
    linkSync(join(other, 'file'), join(own, 'second'))
    expect(() => giveNewFile(join(own, 'second'), nobody)).toThrowError(refused)
    mkdirSync(join(own, 'theirs'))
    chownSync(join(own, 'theirs'), 4711, 4711)
    expect(() => giveDirectory(join(own, 'theirs'), nobody, 0o700)).toThrowError(refused)
    expect(lstatSync(join(other, 'file'))).toMatchObject({ uid: 0, nlink: 2 })
  })
})

describe('where a path leads', () => {
  it.skipIf(!isRoot)('is followed over links of root and not over those of others', () => {
    const { own, other, link } = rooms()
    symlinkSync(other, link)
    expect(trustedPath(join(link, 'file'))).toBe(join(other, 'file'))
    symlinkSync(other, join(own, 'theirs'))
    lchownSync(join(own, 'theirs'), nobody.uid, nobody.gid)
    const path = join(own, 'theirs', 'file')
    expect(() => trustedPath(path)).toThrowError(
      expect.objectContaining({ code: 'link_of_another_user', hint: expect.stringContaining(join(other, 'file')) }),
    )
    expect(hasForeignLink(path)).toBe(true)
    expect(trustedPath(path, join(other, 'file'))).toBe(join(other, 'file'))
    expect(() => trustedPath(path, join(other, 'else'))).toThrowError(/link of another user/)
  })

  it('may not exist yet, and a link to nothing stands for itself', () => {
    const { own, link } = rooms()
    expect(trustedPath(join(own, 'no', 'such'))).toBe(join(own, 'no', 'such'))
    symlinkSync('/no/such', link)
    expect(trustedPath(link)).toBe(link)
  })
})

describe('a place for what is staged', () => {
  it('is beside its target where nobody else can write', async () => {
    const { own } = rooms()
    expect(isOursAlone(own)).toBe(true)
    expect(stagingPlace(join(own, 'a.db'), 'nexus-restore-1')).toEqual({
      staged: join(own, '.a.db.nexus-restore-1'),
      around: null,
    })
  })

  it('is in a private directory under a secret name where others can write, and goes with it', async () => {
    const { own } = rooms()
    chmodSync(own, 0o777)
    const place = stagingPlace(join(own, 'a.db'), 'nexus-restore-1')
    expect(place).toEqual(stagingPlace(join(own, 'a.db'), 'nexus-restore-1'))
    expect(place.around).toBe(join(own, '.a.db.nexus-restore-1.private'))
    await whileStaging(place, async ({ path }) => {
      writeFileSync(path, 'staged')
      writeFileSync(`${path}.digests`, '')
    })
    expect(statSync(place.around ?? '').mode & 0o777).toBe(0o700)
    moveIntoPlace(place.staged, join(own, 'a.db'))
    dropStaging(place.staged)
    expect(readdirSync(own)).toEqual(['a.db'])
  })

  it('is written to and emptied where it was made, and never where its path leads later', async () => {
    const { own, other } = rooms()
    chmodSync(own, 0o777)
    const place = stagingPlace(join(own, 'a.db'), 'nexus-restore-2')
    const staging = Staging.make(place)
    renameSync(place.around ?? '', join(own, 'aside'))
    symlinkSync(other, place.around ?? '')
    writeFileSync(staging.path, 'staged')
    staging.close()
    expect(() => moveIntoPlace(place.staged, join(own, 'a.db'))).toThrowError(refused)
    expect(() => dropStaging(place.staged)).toThrowError(refused)
    expect(readdirSync(other)).toEqual(['file'])
    expect(readdirSync(join(own, 'aside'))).toHaveLength(1)
  })

  it('of another user is not believed, and a directory of that name keeps what is in it', () => {
    const { own } = rooms()
    chmodSync(own, 0o777)
    const place = stagingPlace(join(own, 'a.db'), 'nexus-restore-3')
    mkdirSync(place.around ?? '', { mode: 0o755 })
    chmodSync(place.around ?? '', 0o755)
    writeFileSync(place.staged, 'planted')
    expect(() => moveIntoPlace(place.staged, join(own, 'a.db'))).toThrowError(refused)
    dropStaging(place.staged)
    expect(existsSync(place.staged)).toBe(true)
  })
})
