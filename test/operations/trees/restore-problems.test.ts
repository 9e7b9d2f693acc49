import { execFileSync } from 'node:child_process'
import { chownSync, closeSync, lstatSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { restore } from '../../../src/operations/restore.js'
import { writeAttributes } from '../../../src/system/attributes.js'
import { isRoot } from '../../sources/files/trees.js'
import { directories } from '../directories.js'
import { look } from './all-entries.js'

describe('a tree whose place cannot take all of it', () => {
  it('is restored as far as it can be, and what is missing is named', async () => {
    const at = directories()
    const [deep, name] = ['d'.repeat(200), 'f'.repeat(200)]
    // As long as a path can be where it lies; where it is restored to, there is more above it.
    const levels = Math.floor((4090 - at.uploads.length) / 201)
    const directory = join(at.uploads, ...Array.from({ length: levels }, () => deep))
    mkdirSync(directory, { recursive: true })
    onTestFinished(() => void execFileSync('rm', ['-rf', at.room]))
    for (const path of [join(at.uploads, 'a'), join(at.uploads, deep, name)]) writeFileSync(path, 'content')
    const { incomplete } = await at.backUp()
    expect(incomplete).toBe(false)
    const target = { kind: 'path', path: join(at.room, 'e'.repeat(150)), force: false } as const
    const result = await restore(at.context, at.journal, at.restoring(target))
    const missing = result.problems ?? []
    expect(missing[0]).toMatch(/^[^"]*d{200} is not restored: ENAMETOOLONG/)
    expect(missing.slice(1).every(problem => problem.endsWith('its directory is missing'))).toBe(true)
    expect(at.warnings.filter(warning => warning.includes('is not restored'))).toHaveLength(missing.length)
    expect(result.checks[0]?.detail).toContain(`${missing.length} are not restored`)
    const restored = join(target.path, at.uploads)
    expect(readFileSync(join(restored, 'a'), 'utf8')).toBe('content')
    expect(readdirSync(join(restored, deep)).sort()).toEqual([deep, name])
  })

  it('has no ACL but its own, whatever the directory hands down that it is restored into', async () => {
    const at = directories()
    writeFileSync(join(at.uploads, 'a'), 'content')
    const before = look(at.uploads)
    await at.backUp()
    const into = join(at.room, 'into')
    mkdirSync(into)
    const fd = openSync(into, 'r')
    // Whatever is made in it may be read and written by user 1000.
    const entries = '01000700ffffffff02000700e803000004000500ffffffff10000700ffffffff20000500ffffffff'
    const acl = Buffer.from(`02000000${entries}`, 'hex').toString('base64')
    expect(writeAttributes(fd, { 'system.posix_acl_default': acl })).toEqual([])
    closeSync(fd)
    const target = { kind: 'path', path: join(into, 'to'), force: false } as const
    await restore(at.context, at.journal, at.restoring(target))
    expect(look(join(target.path, at.uploads))).toEqual(before)
  })

  it('belongs to who restores it where that is asked for', { skip: !isRoot }, async () => {
    const at = directories()
    writeFileSync(join(at.uploads, 'a'), 'content')
    for (const path of [at.uploads, join(at.uploads, 'a')]) chownSync(path, 1000, 2000)
    await at.backUp()
    for (const noOwner of [false, true]) {
      const target = { kind: 'path', path: join(at.room, `to-${noOwner}`), force: false } as const
      expect(await restore(at.context, at.journal, at.restoring(target, { noOwner }))).toMatchObject({ problems: [] })
      const owner = noOwner ? { uid: 0, gid: 0 } : { uid: 1000, gid: 2000 }
      for (const name of ['', 'a']) expect(lstatSync(join(target.path, at.uploads, name))).toMatchObject(owner)
    }
    const place = at.restoring({ kind: 'in-place', source: at.source }, { noOwner: true })
    await restore(at.context, at.journal, place)
    expect(lstatSync(join(at.uploads, 'a'))).toMatchObject({ uid: 0, gid: 0 })
  })
})
