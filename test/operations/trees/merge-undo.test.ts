import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it } from 'vitest'
import type { Context } from '../../../src/context.js'
import type { OverwriteRule } from '../../../src/operations/requests.js'
import { planRestore, restore } from '../../../src/operations/restore.js'
import type { RestoreResult } from '../../../src/operations/results.js'
import { planRollback, rollback } from '../../../src/operations/rollback.js'
import { canMount, smallDisk } from '../../end-to-end/helpers/small-disk.js'
import { type Directories, directories } from '../directories.js'

const THEN = 1.4e9
/** Beside it nothing can have a longer name. */
const LONG = 'n'.repeat(255)

async function merged(at: Directories, path: string, overwrite: OverwriteRule, context: Context = at.context) {
  const request = at.restoring({ kind: 'path', path, force: false }, { merge: { overwrite } })
  const plan = await planRestore(context, request)
  return restore(context, at.journal, { ...request, plan, previous: plan.previous })
}

async function undone(at: Directories, path: string, context: Context = at.context): Promise<RestoreResult> {
  const source = { kind: 'path', name: 'up', path, repository: at.source.repository.path } as const
  const request = { source, dryRun: false }
  const plan = await planRollback(context, request)
  return rollback(context, at.journal, { ...request, previous: plan.previous })
}

/** What is backed up: every kind of entry, in directories that will be there and in ones that will not. */
async function backedUp(wishes?: Parameters<typeof directories>[0]): Promise<Directories> {
  const at = directories(wishes)
  for (const name of ['there', 'gone/inner', 'empty']) mkdirSync(join(at.uploads, name), { recursive: true })
  for (const name of [LONG, 'same', 'changed', 'there/changed', 'there/new', 'gone/a', 'gone/inner/b']) {
    writeFileSync(join(at.uploads, name), `then ${name}`)
    utimesSync(join(at.uploads, name), THEN, THEN)
  }
  linkSync(join(at.uploads, 'gone/a'), join(at.uploads, 'there/linked'))
  symlinkSync('then', join(at.uploads, 'link'))
  symlinkSync('then', join(at.uploads, 'there/new-link'))
  execFileSync('mkfifo', [join(at.uploads, 'pipe')])
  chmodSync(join(at.uploads, 'gone/inner'), 0o2750)
  await at.backUp()
  return at
}

/** The directory some time later. */
function later(at: Directories): { into: string; uploads: string } {
  const into = join(at.room, 'into')
  const uploads = join(into, at.uploads)
  mkdirSync(join(uploads, 'there'), { recursive: true })
  writeFileSync(join(uploads, 'same'), 'then same')
  utimesSync(join(uploads, 'same'), THEN, THEN)
  for (const name of [LONG, 'changed', 'there/changed', 'own']) writeFileSync(join(uploads, name), `now ${name}`)
  linkSync(join(uploads, 'own'), join(uploads, 'own too'))
  symlinkSync('now', join(uploads, 'link'))
  return { into, uploads }
}

const beside = (at: Directories) => readdirSync(at.room).filter(name => name.startsWith('.') || name.includes('before'))

/** Every entry with its kind, mode, owner, time but for directories, content, and which names are one file. */
function picture(path: string): string {
  const inodes = new Map<number, string>()
  const names = readdirSync(path, { recursive: true, encoding: 'utf8' }).sort()
  const lines = names.map(name => {
    const full = join(path, name)
    const found = lstatSync(full)
    const { mode, uid, gid, ino, mtimeMs } = found
    const first = found.isDirectory() ? name : (inodes.get(ino) ?? name)
    inodes.set(ino, first)
    const content = found.isFile() ? readFileSync(full, 'utf8') : found.isSymbolicLink() ? readlinkSync(full) : ''
    return [name, mode.toString(8), uid, gid, found.isDirectory() ? '' : Math.round(mtimeMs), first, content].join(' ')
  })
  return lines.join('\n')
}

describe('the undo of a merge', () => {
  it.each([
    'always',
    'if-changed',
    'if-newer',
    'never',
  ] as const)('brings the directory back as it was, and its own undo what was merged: %s', async rule => {
    const at = await backedUp()
    const { into, uploads } = later(at)
    const before = picture(into)
    const result = await merged(at, into, rule)
    const after = picture(into)
    expect(after).not.toBe(before)
    expect(result.undo).toBe(`nexus-backup restore up --rollback --to ${into}`)
    const back = await undone(at, into)
    expect(back.problems).toEqual([])
    expect(picture(into)).toBe(before)
    expect(back.merged?.removed).toBeGreaterThan(0)
    expect(back.undo).toBe(result.undo)
    expect(beside(at)).toHaveLength(1)
    const again = await undone(at, into)
    expect(again.problems).toEqual([])
    expect(picture(into)).toBe(after)
    await undone(at, into)
    expect(picture(into)).toBe(before)
    expect(readFileSync(join(uploads, 'own too'), 'utf8')).toBe('now own')
    expect(beside(at)).toHaveLength(1)
  })

  it('leaves what was added and changed since, and keeps what was replaced and changed since', async () => {
    const at = await backedUp()
    const { into, uploads } = later(at)
    await merged(at, into, 'always')
    appendFileSync(join(uploads, 'there/new'), ', and now')
    appendFileSync(join(uploads, 'gone/inner/b'), ', and now')
    writeFileSync(join(uploads, 'gone/other'), 'of somebody else')
    appendFileSync(join(uploads, 'changed'), ', and now')
    const { problems, previous } = await undone(at, into)
    expect(readFileSync(join(uploads, 'changed'), 'utf8')).toBe('now changed')
    expect(readFileSync(join(previous ?? '', at.uploads, 'changed'), 'utf8')).toBe('then changed, and now')
    expect(readFileSync(join(uploads, 'there/new'), 'utf8')).toBe('then there/new, and now')
    expect(readdirSync(join(uploads, 'gone'), { recursive: true }).sort()).toEqual(['inner', 'inner/b', 'other'])
    expect(existsSync(join(uploads, 'empty'))).toBe(false)
    for (const name of ['there/new', 'gone/inner/b', 'gone/other'])
      expect(problems?.join('\n')).toContain(`${name} stays: it was changed since the merge`)
    expect(problems).toHaveLength(3)
  })

  it('goes on behind a merge that was stopped and its continuation, back to what there was', async () => {
    const at = directories()
    for (let number = 0; number < 150; number += 1) writeFileSync(join(at.uploads, `${number}`), 'then')
    await at.backUp()
    const into = join(at.room, 'into')
    const uploads = join(into, at.uploads)
    mkdirSync(uploads, { recursive: true })
    for (let number = 0; number < 150; number += 2) writeFileSync(join(uploads, `${number}`), 'before')
    const before = picture(into)
    for (const rule of ['always', 'if-changed'] as const) {
      const stop = new AbortController()
      const progress: Context['progress'] = ({ phase }) => {
        if (phase === 'up: merging') setImmediate(() => stop.abort(new Error('stopped')))
      }
      await expect(merged(at, into, rule, { ...at.context, signal: stop.signal, progress })).rejects.toThrow('stopped')
      expect(at.warnings.join('\n')).toContain(`to undo them, run: nexus-backup restore up --rollback --to ${into}`)
      await merged(at, into, rule)
      expect(readdirSync(uploads)).toHaveLength(150)
      const { problems } = await undone(at, into)
      expect(problems).toEqual([])
      expect(picture(into)).toBe(before)
      await undone(at, into)
      expect(readdirSync(uploads).map(name => readFileSync(join(uploads, name), 'utf8'))).not.toContain('before')
      await undone(at, into)
      expect(picture(into)).toBe(before)
    }
  })

  it('is that of the last thing that was restored there', async () => {
    const at = await backedUp()
    const { into } = later(at)
    const before = picture(into)
    await merged(at, into, 'always')
    const after = picture(into)
    await restore(at.context, at.journal, at.restoring({ kind: 'path', path: into, force: true }))
    expect((await undone(at, into)).merged).toBeUndefined()
    expect(picture(into)).toBe(after)
    rmSync(join(at.room, beside(at).find(name => name.includes('before-restore')) ?? ''), { recursive: true })
    await undone(at, into)
    expect(picture(into)).toBe(before)
  })

  it('does nothing on the word of what this user did not write', async () => {
    const at = await backedUp()
    const { into } = later(at)
    const planted = join(at.room, 'into.before-merge-20990101T000000.000Z')
    mkdirSync(planted, { mode: 0o777 })
    chmodSync(planted, 0o777)
    writeFileSync(
      join(planted, '.nexus-merge'),
      `\n${JSON.stringify({ path: at.uploads.slice(1), kind: 'directory', size: 0, mtime: 0 })}`,
    )
    await expect(undone(at, into)).rejects.toMatchObject({ code: 'nothing_to_roll_back' })
    chmodSync(planted, 0o700)
    writeFileSync(
      join(planted, '.nexus-merge'),
      '\n{"path":"../repository","kind":"directory","size":0,"mtime":0}\nrubbish\n[]',
    )
    await undone(at, into)
    expect(existsSync(join(at.room, 'repository'))).toBe(true)
  })

  it('makes nothing and has none where a merge has nothing to do', async () => {
    const at = await backedUp()
    const into = join(at.room, 'into')
    mkdirSync(into)
    await merged(at, into, 'if-changed')
    for (const name of beside(at)) rmSync(join(at.room, name), { recursive: true })
    const { undo, previous, merged: counts } = await merged(at, into, 'never')
    expect([undo, previous, counts?.created]).toEqual([null, null, 0])
    expect(beside(at)).toEqual([])
    await expect(undone(at, into)).rejects.toMatchObject({ code: 'nothing_to_roll_back' })
  })

  it('does not take a database away from under a program, nor without its log', async () => {
    const at = directories()
    for (const name of ['new.db', 'dir/new.db']) {
      mkdirSync(join(at.uploads, 'dir'), { recursive: true })
      const database = new Database(join(at.uploads, name))
      database.pragma('journal_mode = WAL')
      database.exec('CREATE TABLE t (x)')
      database.close()
    }
    await at.backUp()
    const into = join(at.room, 'into')
    mkdirSync(into)
    mkdirSync(join(into, at.uploads), { recursive: true })
    await merged(at, into, 'never')
    const used = ['new.db', 'dir/new.db'].map(name => new Database(join(into, at.uploads, name)))
    for (const database of used) database.exec("INSERT INTO t VALUES ('now')")
    const { problems } = await undone(at, into)
    for (const database of used) {
      expect(database.prepare('SELECT x FROM t').pluck().all()).toEqual(['now'])
      database.close()
    }
    for (const name of ['new.db', 'dir/new.db']) expect(existsSync(join(into, at.uploads, name)), name).toBe(true)
    expect(problems?.filter(text => text.includes('new.db stays'))).toHaveLength(2)
  })

  it.skipIf(!canMount)('reaches what lies on another file system', async () => {
    const at = await backedUp()
    const { into, uploads } = later(at)
    smallDisk(join(uploads, 'gone'), 4 << 20)
    mkdirSync(join(uploads, 'gone/inner'))
    writeFileSync(join(uploads, 'gone/a'), 'now on a disk')
    const before = picture(into)
    await merged(at, into, 'always')
    const after = picture(into)
    expect(after).not.toBe(before)
    expect((await undone(at, into)).problems).toEqual([])
    expect(picture(into)).toBe(before)
    await undone(at, into)
    expect(picture(into)).toBe(after)
  })
})
