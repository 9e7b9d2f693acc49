import {
  chownSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { restore } from '../../../src/operations/restore.js'
import { writeAttributes } from '../../../src/system/attributes.js'
import { isRoot } from '../../sources/files/trees.js'
import { directories } from '../directories.js'
import { look } from './all-entries.js'

describe('a tree whose place cannot take all of it', () => {
  it('is restored as far as it can be, and what is missing is named', async () => {
    const at = directories()
    mkdirSync(join(at.uploads, 'links'))
    for (const name of ['a', 'links/b']) writeFileSync(join(at.uploads, name), 'content')
    for (const name of ['kept', 'lost']) symlinkSync('b', join(at.uploads, 'links', name))
    linkSync(join(at.uploads, 'links/lost'), join(at.uploads, 'links/lost-as-well'))
    const { incomplete } = await at.backUp()
    expect(incomplete).toBe(false)
    const target = { kind: 'path', path: join(at.room, 'to'), force: false } as const
    // Something is in its place once its directory is made.
    at.context.progress = () => {
      const staged = readdirSync(at.room).find(
        name => name.startsWith('.to.nexus-restore') && !name.includes('digests'),
      )
      const links = join(at.room, staged ?? '', at.uploads, 'links')
      if (staged !== undefined && existsSync(links)) writeFileSync(join(links, 'lost'), 'in the way')
    }
    const result = await restore(at.context, at.journal, at.restoring(target))
    const links = join(at.uploads, 'links').slice(1)
    expect(result.problems).toEqual([
      expect.stringContaining(`${links}/lost is not restored: EEXIST`),
      expect.stringContaining('lost is missing, of which it is a hard link'),
    ])
    expect(at.warnings.filter(warning => warning.includes('is not restored'))).toHaveLength(2)
    expect(result.checks[0]?.detail).toContain('2 are not restored')
    const restored = join(target.path, at.uploads)
    expect(readFileSync(join(restored, 'a'), 'utf8')).toBe('content')
    expect(readdirSync(join(restored, 'links')).sort()).toEqual(['b', 'kept', 'lost'])
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
