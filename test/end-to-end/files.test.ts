import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { differences, isRoot, noise, portrait } from '../sources/files/trees.js'
import { fakeSystemctl } from './helpers/systemctl.js'
import { type FilesPlace, filesPlace, fillTree } from './helpers/tree.js'

interface Created {
  backups: { id: string; type: string; bytes_stored: number; bytes_source: number; warnings: string[] }[]
}

interface Restored {
  target: string
  previous: string | null
  undo: string | null
}

async function create(place: FilesPlace, args: readonly string[] = [], status = 0) {
  const [backup] = ((await place.json('create', ['up', '--init', ...args], { status })) as Created).backups
  if (backup === undefined) throw new Error('no backup was made')
  return backup
}

/** Both roots, as they are now. */
function picture({ uploads, logs }: { uploads: string; logs: string }) {
  return { uploads: portrait(uploads), logs: portrait(logs) }
}

function below(directory: string, { uploads, logs }: FilesPlace) {
  return { uploads: join(directory, uploads), logs: join(directory, logs) }
}

type Picture = ReturnType<typeof picture>

function differ(actual: Picture, expected: Picture): string[] {
  return [...differences(actual.uploads, expected.uploads), ...differences(actual.logs, expected.logs)]
}

/** What happens to attachments and logs between two backups. */
function liveOn({ uploads, logs }: FilesPlace, round: number): void {
  const inTicket = (name: string) => join(uploads, 'ticket-1', name)
  mkdirSync(join(uploads, `new-${round}`))
  for (let at = 0; at < 20; at += 1) writeFileSync(join(uploads, `new-${round}`, `${at}`), noise(at * 1000, at + round))
  const names = readdirSync(join(uploads, 'ticket-1'))
    .filter(name => name.startsWith('attachment'))
    .sort()
  for (const name of names.slice(0, 10)) rmSync(inTicket(name))
  for (const name of names.slice(10, 20)) renameSync(inTicket(name), inTicket(`renamed-${round}-${name}`))
  if (existsSync(join(uploads, 'ticket-2'))) renameSync(join(uploads, 'ticket-2'), join(uploads, 'ticket-2-closed'))
  chmodSync(inTicket(names.at(-1) ?? ''), 0o600 + round)
  truncateSync(join(uploads, 'large.bin'), 4_000_000 - round * 7)
  unlinkSync(join(uploads, 'latest'))
  symlinkSync(`new-${round}/1`, join(uploads, 'latest'))
  linkSync(join(uploads, `new-${round}`, '3'), join(uploads, `linked-${round}`))
  // A file becomes a directory, and the other way round.
  rmSync(join(uploads, 'shape'), { recursive: true, force: true })
  if (round % 2 === 1) mkdirSync(join(uploads, 'shape'))
  else writeFileSync(join(uploads, 'shape'), 'a file')
  renameSync(join(logs, 'app.log.1'), join(logs, `app.log.${round + 1}`))
  renameSync(join(logs, 'app.log'), join(logs, 'app.log.1'))
  writeFileSync(join(logs, 'app.log'), noise(100_000, round))
  appendFileSync(join(logs, 'audit.log'), noise(50_000, round))
}

describe('20,000 files with renames, deletions and appended logs between the runs', () => {
  it('restore identically over increments and over a diff: content, mode, owner, time, links', async () => {
    const place = filesPlace()
    fillTree(place, 20_000)
    const pictures: [string, Picture][] = []
    const full = await create(place)
    pictures.push([full.id, picture(place)])
    for (const [round, type] of (['incr', 'incr', 'diff', 'incr'] as const).entries()) {
      liveOn(place, round + 1)
      const { id, type: made, bytes_stored: bytes, warnings } = await create(place, ['--type', type])
      expect([made, warnings]).toEqual([type, []])
      expect(bytes).toBeLessThan(full.bytes_stored / 5)
      pictures.push([id, picture(place)])
    }
    // full, incr, incr; and full, diff, incr. What the others hold is verified below.
    for (const [id, expected] of [pictures[2], pictures[4]].filter(made => made !== undefined)) {
      const to = join(place.room, `to-${id.slice(-4)}`)
      await place.json('restore', [id, '--to', to])
      expect(differ(picture(below(to, place)), expected)).toEqual([])
      rmSync(to, { recursive: true })
    }
    await place.json('verify', [])
  }, 600_000)
})

describe('a full', () => {
  it('is a tar that zstd and tar unpack', async () => {
    const place = filesPlace()
    fillTree(place, 300)
    const { id } = await create(place)
    const into = join(place.room, 'by-hand')
    mkdirSync(into)
    execFileSync('sh', ['-c', `zstd -dc '${place.repository}/up/${id}/up.tar.zst' | tar -xp -C '${into}'`])
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
    expect(existsSync(join(place.repository, 'up'))).toBe(false)
  })

  it('ends with 3 when something could not be read, and keeps the rest', async () => {
    const place = filesPlace()
    writeFileSync(join(place.uploads, 'x'), 'x')
    writeFileSync(Buffer.concat([Buffer.from(`${place.uploads}/`), Buffer.from([0xff])]), 'named in no language')
    const { warnings } = await create(place, [], 3)
    expect(warnings).toEqual([expect.stringContaining('not UTF-8')])
    await place.json('restore', ['up', '--to', join(place.room, 'to')])
    expect(readdirSync(join(place.room, 'to', place.uploads))).toEqual(['x'])
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
