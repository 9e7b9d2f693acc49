import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { isEncrypted } from '../helpers/repository-kind.js'
import { storedIn } from '../helpers/stored.js'
import { DEEP, makeTooDeep } from '../helpers/too-deep.js'
import { isRoot } from '../sources/files/trees.js'
import { below, type Created, create, differ, liveOn, picture, proveChain } from './helpers/living-tree.js'
import { binary } from './helpers/run.js'
import { canMount } from './helpers/small-disk.js'
import { fakeSystemctl } from './helpers/systemctl.js'
import { filesPlace, fillTree } from './helpers/tree.js'

interface Restored {
  target: string
  previous: string | null
  undo: string | null
}

describe('files with renames, deletions and appended logs between the runs', () => {
  // test/soak/files.test.ts has 20,000 of them.
  it('restore identically over increments and over a diff: content, mode, owner, time, links', () => proveChain(2000))
})

describe('a full', () => {
  // Of an encrypted one only recover.mjs makes a tar.
  it.skipIf(isEncrypted)('is a tar that zstd and tar unpack', async () => {
    const place = filesPlace()
    fillTree(place, 300)
    const { id } = await create(place)
    const into = join(place.room, 'by-hand')
    mkdirSync(into)
    execFileSync('sh', [
      '-c',
      `zstd -dc '${storedIn(place.repository).asDirectory()}/up/${id}/up.tar.zst' | tar -xp -C '${into}'`,
    ])
    expect(differ(picture(below(into, place)), picture(place))).toEqual([])
  })

  it('holds what exclude and include say', async () => {
    const place = filesPlace(["exclude: ['*.tmp', 'cache/']", "include: ['keep.tmp']"])
    for (const name of ['a', 'b.tmp', 'keep.tmp']) writeFileSync(join(place.uploads, name), name)
    mkdirSync(join(place.uploads, 'cache'))
    writeFileSync(join(place.uploads, 'cache/x'), 'x')
    const { id } = await create(place)
    const to = join(place.room, 'to')
    await place.json('restore', [id, '--to', to])
    expect(readdirSync(join(to, place.uploads)).sort()).toEqual(['a', 'keep.tmp'])
  })
})

describe('a tree that is not whole', () => {
  it('is an error when a root is missing, and no backup is made', async () => {
    const place = filesPlace()
    rmSync(place.logs, { recursive: true })
    const { code, stderr } = await place.run('create', ['up', '--init'])
    expect(code).toBe(5)
    expect(stderr).toContain(place.logs)
    expect(storedIn(place.repository).files('up')).toEqual([])
  })

  it('ends with 3 when something could not be read, and keeps the rest', async () => {
    const place = filesPlace()
    writeFileSync(join(place.uploads, 'x'), 'x')
    makeTooDeep(place.uploads, 8)
    const { warnings } = await create(place, [], 3)
    expect(warnings).toEqual([expect.stringMatching(/d{200} is left out: its path is too long to be kept/)])
    const { code, stderr } = await place.run('restore', ['up', '--to', join(place.room, 'to')])
    // What was kept lies deeper than any call takes a path, and is restored all the same.
    expect([code, stderr]).toEqual([0, expect.stringContaining('is incomplete: ')])
    expect(readdirSync(join(place.room, 'to', place.uploads))).toEqual([DEEP, 'x'])
  })
})

const canBeAnotherRoot = spawnSync('unshare', ['--user', '--map-root-user', 'true']).status === 0

describe.skipIf(!canBeAnotherRoot)('a user namespace, where root owns little', () => {
  it('has everything restored, with 3 for what it could not be given, and with 0 where that is not asked for', async () => {
    const place = filesPlace()
    writeFileSync(join(place.uploads, 'x'), 'x')
    if (isRoot) chownSync(join(place.uploads, 'x'), 1000, 1000)
    await create(place)
    const restored = (to: string, ...flags: string[]) => {
      const args = [binary, 'restore', 'up', '--to', join(place.room, to), '--config', join(place.room, 'config.yaml')]
      const { status, stderr } = spawnSync('unshare', [
        '--user',
        '--map-root-user',
        process.execPath,
        ...args,
        ...flags,
      ])
      expect(readFileSync(join(place.room, to, place.uploads, 'x'), 'utf8')).toBe('x')
      return [status, stderr.toString()]
    }
    expect(restored('one')).toEqual([
      isRoot ? 3 : 0,
      isRoot ? expect.stringMatching(/x is restored, but its owner 1000:1000 cannot be set: EINVAL/) : '',
    ])
    expect(restored('other', '--no-owner')).toEqual([0, ''])
  })
})

describe.skipIf(!canMount)('a disk that is not mounted (mounting needs root)', () => {
  it('is refused with the flag that goes on without it, and what was there stays the latest', async () => {
    const place = filesPlace()
    execFileSync('mount', ['-t', 'tmpfs', 'none', place.uploads])
    onTestFinished(() => {
      execFileSync('sh', ['-c', 'umount --lazy "$0" 2>/dev/null || :', place.uploads])
    })
    writeFileSync(join(place.uploads, 'x'), 'x')
    const { id } = await create(place)
    execFileSync('umount', [place.uploads])
    for (const type of ['auto', 'full']) {
      const { code, stderr } = await place.run('create', ['up', '--type', type])
      expect(code).toBe(8)
      expect(stderr).toContain(`${place.uploads} held one file in ${id}`)
      expect(stderr).toContain(' create up --allow-emptied')
    }
    expect(await place.json('list', ['up'])).toMatchObject({ backups: [{ id }] })
    expect((await create(place, ['--allow-emptied'])).warnings).toEqual([expect.stringContaining('holds none of them')])
  })
})

describe('an ordinary user', () => {
  it('is told what he may not read, and the run ends with 3', { skip: !isRoot }, async () => {
    const place = filesPlace()
    for (const name of ['mine', 'closed']) writeFileSync(join(place.uploads, name), name)
    execFileSync('chown', ['-R', '65534:65534', place.room])
    mkdirSync(join(place.uploads, 'secret'), { mode: 0o700 })
    writeFileSync(join(place.uploads, 'secret', 'x'), 'x')
    execFileSync('chown', ['0:0', join(place.uploads, 'closed')])
    chmodSync(join(place.uploads, 'closed'), 0o600)
    const user = { uid: 65534, gid: 65534, status: 3 }
    const [backup] = ((await place.json('create', ['up', '--init'], user)) as Created).backups
    expect(backup?.warnings).toEqual([
      expect.stringContaining('secret cannot be listed'),
      expect.stringContaining('closed cannot be read'),
    ])
    await place.json('restore', ['up', '--to', join(place.room, 'to')], { ...user, status: 0 })
    expect(readdirSync(join(place.room, 'to', place.uploads)).sort()).toEqual(['mine', 'secret'])
  })
})

describe('a restore in place', () => {
  it('swaps both roots, and a rollback brings exactly the previous state back', async () => {
    const place = filesPlace()
    fillTree(place, 300)
    await create(place)
    const captured = picture(place)
    liveOn(place, 1)
    const lived = picture(place)
    const refused = await place.run('restore', ['up', '--in-place'])
    expect(refused.code).toBe(8)
    const restored = (await place.json('restore', ['up', '--in-place', '--confirm', 'up'])) as Restored
    expect(differ(picture(place), captured)).toEqual([])
    const asides = restored.previous?.split(', ') ?? []
    expect(differ(picture({ uploads: asides[0] ?? '', logs: asides[1] ?? '' }), lived)).toEqual([])
    expect(restored.undo).toMatch(/^nexus-backup .*restore up --rollback --confirm up$/)
    await place.json('restore', ['up', '--rollback', '--confirm', 'up'])
    expect(differ(picture(place), lived)).toEqual([])
    expect(readdirSync(join(place.room, 'live')).filter(name => name.startsWith('.'))).toEqual([])
    const { type } = await create(place)
    expect(type).toBe('incr')
  })

  it('stops and starts the service around the swap', async () => {
    const place = filesPlace(['service: app.service'])
    writeFileSync(join(place.uploads, 'x'), 'x')
    await create(place)
    const systemctl = fakeSystemctl(place.room)
    await place.json('restore', ['up', '--in-place', '--confirm', 'up'], { env: systemctl.env })
    expect(systemctl.calls()).toEqual(['stop -- app.service', 'start -- app.service'])
  })

  it.each([
    ['its record lies there', '.nexus-restore.json'],
    ['it stages', '.rest'],
    ['files are staged', '/ticket-0'],
    ['the first root is set aside', '.before-restore-'],
  ])('killed when %s leaves the old or the new state, whole, after the next run', async (_, sign) => {
    const place = filesPlace()
    fillTree(place, 500)
    await create(place)
    const captured = picture(place)
    liveOn(place, 1)
    const lived = picture(place)
    const live = join(place.room, 'live')
    const running = place.start('restore', ['up', '--in-place', '--confirm', 'up'])
    const staged = () => readdirSync(live).filter(name => name.includes('.nexus-restore-'))
    const seen = () => [
      ...readdirSync(live),
      ...staged().flatMap(name => readdirSync(join(live, name)).map(at => `/${at}`)),
    ]
    while (running.child.exitCode === null && !isSeen(seen, sign)) await setImmediate()
    running.child.kill('SIGKILL')
    await running.done
    await create(place, ['--type', 'incr'])
    const now = picture(place)
    if (differ(now, lived).length > 0) {
      expect(differ(now, captured)).toEqual([])
      await place.json('restore', ['up', '--rollback', '--confirm', 'up'])
      expect(differ(picture(place), lived)).toEqual([])
    }
    expect(readdirSync(live).filter(name => name.startsWith('.'))).toEqual([])
  })

  it('goes on reading a root that was given back under another owner', { skip: !isRoot }, async () => {
    const place = filesPlace()
    writeFileSync(join(place.uploads, 'x'), 'x')
    execFileSync('chown', ['-R', '1234:5678', place.uploads])
    await create(place)
    rmSync(place.uploads, { recursive: true })
    await place.json('restore', ['up', '--in-place', '--confirm', 'up'])
    const { uid, gid } = statSync(place.uploads)
    expect([uid, gid, readFileSync(join(place.uploads, 'x'), 'utf8')]).toEqual([1234, 5678, 'x'])
  })
})

/** Whether a name holds something; names come and go while they are looked at. */
function isSeen(names: () => string[], sign: string): boolean {
  try {
    return names().some(name => name.includes(sign))
  } catch {
    return false
  }
}
