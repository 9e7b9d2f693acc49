import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it } from 'vitest'
import type { OverwriteRule, PartRules } from '../../../src/operations/requests.js'
import { planRestore, restore } from '../../../src/operations/restore.js'
import { createTreeRecord } from '../../../src/operations/trees/tree-record.js'
import { canMount, smallDisk } from '../../end-to-end/helpers/small-disk.js'
import { noise } from '../../sources/files/trees.js'
import { type Directories, directories } from '../directories.js'

const THEN = 1.4e9

/** What is backed up: files of one time, a link, a directory of its own. */
async function backedUp(): Promise<Directories> {
  const at = directories()
  mkdirSync(join(at.uploads, 'gone'))
  for (const name of ['same', 'older', 'newer', 'gone/a', 'gone/b', 'missing']) {
    writeFileSync(join(at.uploads, name), 'then')
    utimesSync(join(at.uploads, name), THEN, THEN)
  }
  symlinkSync('same', join(at.uploads, 'link'))
  await at.backUp()
  return at
}

/** The same tree some time later, at another place. */
function changed(at: Directories): string {
  const into = join(at.room, 'into')
  const uploads = join(into, at.uploads)
  mkdirSync(uploads, { recursive: true })
  for (const [name, content, time] of [
    ['same', 'then', THEN],
    ['older', 'now', THEN - 100],
    ['newer', 'now', THEN + 100],
    ['other', 'now', THEN],
  ] as const) {
    writeFileSync(join(uploads, name), content)
    utimesSync(join(uploads, name), time, time)
  }
  symlinkSync('newer', join(uploads, 'link'))
  return into
}

async function merged(at: Directories, path: string, overwrite: OverwriteRule, part?: PartRules) {
  const request = at.restoring(
    { kind: 'path', path, force: false },
    { merge: { overwrite }, ...(part === undefined ? {} : { part }) },
  )
  const plan = await planRestore(at.context, request)
  return restore(at.context, at.journal, { ...request, previous: plan.previous })
}

async function restoredTo(at: Directories, path: string): Promise<void> {
  await restore(at.context, at.journal, at.restoring({ kind: 'path', path, force: false }))
}

function rowsOf(path: string): unknown[] {
  const database = new Database(path)
  try {
    return database.prepare('SELECT x FROM t').pluck().all()
  } finally {
    database.close()
  }
}

/** Content of every file, and where every link leads. */
function contents(path: string): Record<string, string> {
  const found: Record<string, string> = {}
  for (const entry of readdirSync(path, { withFileTypes: true, recursive: true })) {
    const full = join(entry.parentPath, entry.name)
    if (entry.isDirectory()) continue
    found[full.slice(path.length + 1)] = entry.isSymbolicLink()
      ? `-> ${readlinkSync(full)}`
      : readFileSync(full, 'utf8')
  }
  return found
}

describe('a merge into a directory', () => {
  const made = { missing: 'then', 'gone/a': 'then', 'gone/b': 'then' }
  const there = { same: 'then', older: 'now', newer: 'now', other: 'now', link: '-> newer' }
  const cases: [OverwriteRule, Record<string, string>, string[]][] = [
    ['never', {}, []],
    ['if-newer', { older: 'then' }, ['older']],
    ['if-changed', { older: 'then', newer: 'then', link: '-> same' }, ['link', 'newer', 'older']],
    ['always', { older: 'then', newer: 'then', link: '-> same' }, ['link', 'newer', 'older', 'same']],
  ]

  it('replaces what the rule says, keeps what it replaced, and leaves everything else alone', async () => {
    const at = await backedUp()
    for (const [rule, replacing, replaced] of cases) {
      const into = changed(at)
      const uploads = join(into, at.uploads)
      const inode = statSync(join(uploads, 'older')).ino
      const result = await merged(at, into, rule)
      const link = rule === 'if-newer' ? contents(uploads).link : (replacing.link ?? there.link)
      expect(contents(uploads), rule).toEqual({ ...there, ...made, ...replacing, link })
      const names = replaced.map(name => join(at.uploads, name).slice(1))
      expect(result.merged?.replaced.filter(name => !name.endsWith('/link')).sort(), rule).toEqual(
        names.filter(name => !name.endsWith('/link')).sort(),
      )
      if (result.previous !== null) {
        expect(result.undo).toBe(`nexus-backup restore up --rollback --to ${into}`)
        for (const name of result.merged?.replaced ?? [])
          expect(
            existsSync(join(result.previous, name)) || lstatSync(join(result.previous, name)).isSymbolicLink(),
          ).toBe(true)
        expect(statSync(join(result.previous, at.uploads, 'older')).ino).toBe(inode)
        expect(readFileSync(join(result.previous, at.uploads, 'older'), 'utf8')).toBe('now')
        rmSync(result.previous, { recursive: true })
      }
      // What was added alone is undone by a list that lies there.
      const beside = readdirSync(at.room).filter(name => name.startsWith('.') || name.includes('before'))
      expect(beside, rule).toHaveLength(rule === 'never' ? 1 : 0)
      for (const name of beside) {
        expect(readdirSync(join(at.room, name))).toEqual(['.nexus-merge'])
        rmSync(join(at.room, name), { recursive: true })
      }
      rmSync(into, { recursive: true })
    }
  })

  it('takes a part, reads nothing else, and does the same again without doing anything', async () => {
    const at = await backedUp()
    const into = changed(at)
    const part = { include: ['gone/', 'same'], exclude: ['b'] }
    const first = await merged(at, into, 'if-changed', part)
    expect(first).toMatchObject({ previous: null, merged: { created: 1, replaced: [], left: 1 } })
    expect(Object.keys(contents(join(into, at.uploads))).sort()).toEqual(
      ['gone/a', 'link', 'newer', 'older', 'other', 'same'].sort(),
    )
    expect(statSync(join(into, at.uploads, 'gone/a')).mtimeMs).toBe(THEN * 1000)
    const again = await merged(at, into, 'if-changed', part)
    expect(again).toMatchObject({ previous: null, merged: { created: 0, replaced: [], left: 2 } })
  })

  it('writes the bytes of a part wherever its files stand in the backup', async () => {
    const at = directories()
    mkdirSync(join(at.uploads, 'd'))
    for (const [seed, name] of ['a', 'b', 'c', 'd/e', 'empty', 'z'].entries())
      writeFileSync(join(at.uploads, name), name === 'empty' ? '' : noise(140_000 * seed + 7, seed))
    linkSync(join(at.uploads, 'b'), join(at.uploads, 'y'))
    linkSync(join(at.uploads, 'b'), join(at.uploads, 'yy'))
    await at.backUp()
    for (const include of [['z'], ['a', 'z'], ['empty', 'c'], ['y', 'yy'], ['yy', 'e'], ['b', 'y', 'z']]) {
      const into = join(at.room, `into-${include.join('-')}`)
      const uploads = join(into, at.uploads)
      mkdirSync(uploads, { recursive: true })
      // The first one is there already, and left.
      const left = include[0] ?? ''
      writeFileSync(join(uploads, left), 'mine')
      const result = await merged(at, into, 'never', { include, exclude: [] })
      expect(result.merged, include.join()).toEqual({ created: include.length - 1, replaced: [], left: 1 })
      for (const name of include.slice(1)) {
        const path = name === 'e' ? 'd/e' : name
        expect(readFileSync(join(uploads, path)).equals(readFileSync(join(at.uploads, path))), name).toBe(true)
      }
      expect(readFileSync(join(uploads, left), 'utf8')).toBe('mine')
    }
  })

  it('reaches directories whose names are not UTF-8', async () => {
    const at = directories()
    const raw = Buffer.from([0x2f, 0x61, 0xff])
    mkdirSync(Buffer.concat([Buffer.from(at.uploads), raw]))
    writeFileSync(Buffer.concat([Buffer.from(at.uploads), raw, raw]), 'then')
    await at.backUp()
    const into = join(at.room, 'into')
    const uploads = Buffer.from(join(into, at.uploads))
    mkdirSync(uploads, { recursive: true })
    mkdirSync(Buffer.concat([uploads, raw]))
    const { problems } = await merged(at, into, 'always')
    expect(problems).toEqual([])
    expect(readFileSync(Buffer.concat([uploads, raw, raw]), 'utf8')).toBe('then')
  })

  it('follows no link and removes no directory that is in the way', async () => {
    const at = await backedUp()
    const into = changed(at)
    const uploads = join(into, at.uploads)
    const foreign = join(at.room, 'foreign')
    mkdirSync(foreign)
    symlinkSync(foreign, join(uploads, 'gone'))
    mkdirSync(join(uploads, 'missing'))
    writeFileSync(join(uploads, 'missing/x'), 'x')
    const { problems, merged: counts } = await merged(at, into, 'always')
    expect(readdirSync(foreign)).toEqual([])
    expect(lstatSync(join(uploads, 'gone')).isSymbolicLink()).toBe(true)
    expect(readFileSync(join(uploads, 'missing/x'), 'utf8')).toBe('x')
    expect(problems?.join('\n')).toMatch(/gone is not restored: a symbolic link, which is not followed/)
    expect(problems?.join('\n')).toMatch(/missing is not restored: a directory is in its place/)
    expect(counts?.replaced).toContain(join(at.uploads, 'same').slice(1))
  })

  it('brings hard links back as links to each other', async () => {
    const at = directories()
    for (const name of ['a', 'c']) writeFileSync(join(at.uploads, name), name)
    linkSync(join(at.uploads, 'a'), join(at.uploads, 'b'))
    await at.backUp()
    const into = join(at.room, 'into')
    mkdirSync(into)
    await merged(at, into, 'always')
    rmSync(join(into, at.uploads, 'a'))
    rmSync(join(into, at.uploads, 'b'))
    await merged(at, into, 'if-changed')
    expect(statSync(join(into, at.uploads, 'a')).ino).toBe(statSync(join(into, at.uploads, 'b')).ino)
  })

  it('does not give a database the log of another one', async () => {
    const at = directories({ sqlite: true })
    const live = join(at.uploads, 'app.db')
    const backedUp = new Database(live)
    backedUp.pragma('journal_mode = WAL')
    backedUp.exec("CREATE TABLE t (x); INSERT INTO t VALUES ('then')")
    await at.backUp()
    backedUp.close()
    for (const [rule, expected] of [
      ['always', ['then']],
      ['if-changed', ['then']],
      ['if-newer', ['then', 'now']],
      ['never', ['then', 'now']],
    ] as const) {
      const into = join(at.room, `into-${rule}`)
      mkdirSync(join(into, at.uploads), { recursive: true })
      const path = join(into, at.uploads, 'app.db')
      await restoredTo(at, join(at.room, 'scratch'))
      const scratch = join(at.room, 'scratch', at.uploads, 'app.db')
      const used = new Database(scratch)
      used.exec("INSERT INTO t VALUES ('now')")
      // Killed: its last commit stands in the log alone, and the file has the time that the backup has.
      const { mtime } = statSync(scratch)
      for (const suffix of ['', '-wal', '-shm']) copyFileSync(scratch + suffix, path + suffix)
      utimesSync(path, mtime, mtime)
      used.close()
      rmSync(join(at.room, 'scratch'), { recursive: true })
      const { previous } = await merged(at, into, rule)
      const again = await merged(at, into, rule === 'always' ? 'if-changed' : rule)
      expect(again.merged?.replaced, rule).toEqual([])
      expect(rowsOf(path), rule).toEqual(expected)
      if (previous !== null) expect(rowsOf(join(previous, at.uploads, 'app.db')), rule).toEqual(['then', 'now'])
      else expect(expected).toHaveLength(2)
    }
  })

  it('puts no database beside the log of another where nothing may be replaced', async () => {
    const at = directories({ sqlite: true })
    const live = new Database(join(at.uploads, 'app.db'))
    live.exec('CREATE TABLE t (x)')
    live.close()
    await at.backUp()
    const into = join(at.room, 'into')
    mkdirSync(join(into, at.uploads), { recursive: true })
    writeFileSync(join(into, at.uploads, 'app.db-wal'), 'log')
    const { problems, previous } = await merged(at, into, 'never')
    expect(problems?.join('\n')).toMatch(/app\.db is not restored: .*-wal of another database is beside it/)
    expect(previous).toBeNull()
    expect(contents(join(into, at.uploads))).toEqual({ 'app.db-wal': 'log' })
  })

  it('needs a directory that is there', async () => {
    const at = await backedUp()
    const missing = join(at.room, 'nothing')
    const refusal = {
      kind: 'not-found',
      code: 'merge_target_missing',
      hint: expect.stringContaining(`--to ${missing}`),
    }
    await expect(merged(at, missing, 'always')).rejects.toMatchObject(refusal)
    writeFileSync(missing, 'a file')
    await expect(merged(at, missing, 'always')).rejects.toMatchObject(refusal)
  })

  it.skipIf(!canMount)('reaches a file system that is mounted in it', async () => {
    const at = await backedUp()
    const into = changed(at)
    const disk = join(into, at.uploads, 'gone')
    smallDisk(disk, 4 << 20)
    writeFileSync(join(disk, 'a'), 'now, on another disk')
    const { previous, problems } = await merged(at, into, 'if-changed')
    expect(problems).toEqual([])
    expect([readFileSync(join(disk, 'a'), 'utf8'), readFileSync(join(disk, 'b'), 'utf8')]).toEqual(['then', 'then'])
    expect(statSync(join(disk, 'b')).mtimeMs).toBe(THEN * 1000)
    expect(readFileSync(join(previous ?? '', at.uploads, 'gone/a'), 'utf8')).toBe('now, on another disk')
    expect(readdirSync(disk).filter(name => name.startsWith('.'))).toEqual([])
  })

  it.skipIf(!canMount)(
    'reaches another mount of the same file system, and tells what it cannot make on another',
    async () => {
      const at = directories()
      for (const name of ['bound', 'disk']) {
        mkdirSync(join(at.uploads, name))
        writeFileSync(join(at.uploads, name, 'file'), 'then')
        linkSync(join(at.uploads, name, 'file'), join(at.uploads, name, 'further'))
        symlinkSync('file', join(at.uploads, name, 'link'))
        lchownSync(join(at.uploads, name, 'link'), 33, 33)
        execFileSync('mkfifo', [join(at.uploads, name, 'pipe')])
      }
      await at.backUp()
      const into = join(at.room, 'into')
      const [bound, disk] = [join(into, at.uploads, 'bound'), join(into, at.uploads, 'disk')]
      mkdirSync(bound, { recursive: true })
      smallDisk(disk, 4 << 20)
      execFileSync('mount', ['--bind', bound, bound])
      try {
        const { problems } = await merged(at, into, 'always')
        for (const place of [bound, disk]) {
          expect(contents(place)).toMatchObject({ file: 'then', further: 'then', link: '-> file' })
          expect(lstatSync(join(place, 'link')).uid).toBe(33)
          expect(readdirSync(place).sort()).toEqual(['file', 'further', 'link'])
        }
        expect(problems?.filter(text => text.includes('pipes and devices'))).toHaveLength(2)
        expect(problems?.filter(text => text.includes('its hard links are'))).toHaveLength(4)
        expect(problems).toHaveLength(6)
      } finally {
        execFileSync('umount', [bound])
      }
    },
  )

  it('tells of one that was killed, and clears away what that had staged', async () => {
    const at = await backedUp()
    const into = changed(at)
    const staged = join(at.room, '.into.nexus-restore-dead-1')
    const previous = join(at.room, 'into.before-merge-20251101T000000.000Z')
    for (const path of [staged, previous]) mkdirSync(path)
    createTreeRecord({
      format: 1,
      kind: 'trees',
      pid: 4_194_303,
      started: 'long ago',
      home: into,
      moves: [{ staged, target: into, previous, replaces: false }],
      kept: [],
      disposable: true,
      scratch: [],
      service: null,
      merge: true,
      phase: 'staging',
    })
    await merged(at, into, 'never')
    expect(at.warnings.join('\n')).toContain(
      `an earlier merge into ${into} was killed: it may be there in part, and what it had replaced is kept in ${previous}`,
    )
    expect(readdirSync(at.room).filter(name => name.startsWith('.'))).toEqual([])
    expect(existsSync(previous)).toBe(true)
  })

  it('that is stopped before it moves anything leaves everything as it was', async () => {
    const at = await backedUp()
    const into = changed(at)
    const stop = new AbortController()
    const context = { ...at.context, signal: stop.signal, progress: () => stop.abort(new Error('stopped')) }
    const request = at.restoring({ kind: 'path', path: into, force: false }, { merge: { overwrite: 'always' } })
    await expect(restore(context, at.journal, request)).rejects.toThrow()
    expect(readdirSync(at.room).filter(name => name.startsWith('.') || name.includes('before'))).toEqual([])
    expect(contents(join(into, at.uploads))).toEqual(there)
  })
})
