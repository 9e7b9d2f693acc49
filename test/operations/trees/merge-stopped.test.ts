import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { Context } from '../../../src/context.js'
import type { OverwriteRule } from '../../../src/operations/requests.js'
import { restore } from '../../../src/operations/restore.js'
import { recordPath } from '../../../src/sources/crash-record.js'
import { canMount, smallDisk } from '../../end-to-end/helpers/small-disk.js'
import { type Directories, directories } from '../directories.js'

const PAIRS = Array.from({ length: 60 }, (_, at) => [`${at}.db`, `${at}.db-wal`] as const)

/** Databases with their logs: more than are moved at a time. */
async function backedUp(): Promise<Directories> {
  const at = directories()
  for (const name of PAIRS.flat()) writeFileSync(join(at.uploads, name), 'then')
  await at.backUp()
  return at
}

const mergeInto = (at: Directories, path: string, overwrite: OverwriteRule, context: Context = at.context) =>
  restore(context, at.journal, at.restoring({ kind: 'path', path, force: false }, { merge: { overwrite } }))

/** As a signal arrives while entries are moved: heard only when the event loop has its turn. */
function stopped(at: Directories): Context {
  const stop = new AbortController()
  const progress: Context['progress'] = ({ phase }) => {
    if (phase === 'up: merging') setImmediate(() => stop.abort(new Error('stopped')))
  }
  return { ...at.context, signal: stop.signal, progress }
}

it.each(['always', 'if-changed', 'never'] as const)('stops between two entries and goes on: %s', async rule => {
  const at = await backedUp()
  const into = join(at.room, 'into')
  const uploads = join(into, at.uploads)
  mkdirSync(uploads, { recursive: true })
  const isThere = rule !== 'never'
  if (isThere) for (const name of PAIRS.flat()) writeFileSync(join(uploads, name), 'before')
  await expect(mergeInto(at, into, rule, stopped(at))).rejects.toThrow('stopped')
  const read = (name: string) => (existsSync(join(uploads, name)) ? readFileSync(join(uploads, name), 'utf8') : '')
  const pairs = PAIRS.map(([database, log]) => [read(database), read(log)])
  const done = pairs.filter(([database]) => database === 'then').length
  expect(done).toBeGreaterThan(0)
  expect(done).toBeLessThan(PAIRS.length)
  // A database and its log go together.
  for (const [database, log] of pairs) expect(log).toBe(database)
  const told = at.warnings.find(text => text.includes('the merge was stopped'))
  // The other root is an entry too.
  expect(told).toMatch(new RegExp(`: (${2 * done}|${2 * done + 1}) entries are in ${into} already`))
  expect(told).toMatch(new RegExp(`to go on, run: nexus-backup restore \\S+ --merge --overwrite ${rule} --to ${into}$`))
  const names = readdirSync(at.room).filter(name => name.startsWith('.') || name.includes('before'))
  // Without anything that was replaced it holds the list by which the merge is undone.
  expect(names).toHaveLength(1)
  expect(told).toContain(`to undo them, run: nexus-backup restore up --rollback --to ${into}; `)
  if (isThere) expect(told).toContain(`is kept in ${join(at.room, names[0] ?? '')}`)
  const { merged } = await mergeInto(at, into, rule)
  for (const name of PAIRS.flat()) expect(read(name)).toBe('then')
  if (rule === 'if-changed') expect(merged?.replaced).toHaveLength(2 * (PAIRS.length - done))
})

/** A directory that is there and another mount, with a new directory and a file to come. */
async function onAnotherDisk() {
  const at = directories()
  mkdirSync(join(at.uploads, 'disk/new/inner'), { recursive: true })
  for (const name of ['a', 'inner/b', 'c']) writeFileSync(join(at.uploads, 'disk/new', name), 'then')
  writeFileSync(join(at.uploads, 'disk/file'), 'then')
  execFileSync('chmod', ['2750', join(at.uploads, 'disk/new')])
  await at.backUp()
  const into = join(at.room, 'into')
  const disk = smallDisk(join(into, at.uploads, 'disk'), 4 << 20)
  return { at, into, disk }
}

it.skipIf(!canMount)('a directory on another mount appears whole, or not at all after a signal', async () => {
  const { at, into, disk } = await onAnotherDisk()
  const hidden: string[] = []
  const { signal, progress } = stopped(at)
  const context: Context = {
    ...at.context,
    signal,
    progress: event => {
      const directories = readdirSync(disk, { withFileTypes: true }).filter(entry => entry.isDirectory())
      hidden.push(...directories.map(({ name }) => name))
      if (directories.length > 0) progress(event)
    },
  }
  await expect(mergeInto(at, into, 'if-changed', context)).rejects.toThrow('stopped')
  expect(hidden[0]?.startsWith('.nexus-merge-')).toBe(true)
  expect(readdirSync(disk).filter(name => name !== 'file')).toEqual([])
  const { merged } = await mergeInto(at, into, 'if-changed')
  expect(merged?.created).toBeGreaterThan(0)
  expect(statSync(join(disk, 'new')).mode & 0o7777).toBe(0o2750)
  expect(readFileSync(join(disk, 'new/inner/b'), 'utf8')).toBe('then')
})

it.skipIf(!canMount)('what a killed merge left on another mount is cleared away by the next one', async () => {
  const { at, into, disk } = await onAnotherDisk()
  const record = recordPath(into)
  const kept = join(at.room, 'as-it-was')
  mkdirSync(kept)
  // As it is in the midst of it: what lies there, and the record of it.
  const context: Context = {
    ...at.context,
    progress: ({ phase }) => {
      const hidden = readdirSync(disk).filter(name => name.startsWith('.nexus-merge-'))
      if (phase !== 'up: merging' || hidden.length === 0 || existsSync(join(kept, 'record'))) return
      execFileSync('cp', ['-a', ...hidden.map(name => join(disk, name)), kept])
      execFileSync('cp', ['-a', record, join(kept, 'record')])
    },
  }
  await mergeInto(at, into, 'if-changed', context)
  execFileSync('sh', ['-c', `cp -a ${kept}/.nexus-merge-* ${disk}`])
  const { pid, ...rest } = JSON.parse(readFileSync(join(kept, 'record'), 'utf8'))
  writeFileSync(record, JSON.stringify({ ...rest, pid: 4_194_303 }), { mode: 0o600 })
  writeFileSync(join(disk, '.nexus-merge-of-somebody-else'), 'stays')
  expect(readdirSync(disk).filter(name => name.startsWith('.nexus-merge-'))).toHaveLength(2)
  await mergeInto(at, into, 'if-changed')
  expect(readdirSync(disk).sort()).toEqual(['.nexus-merge-of-somebody-else', 'file', 'new'])
  expect(existsSync(record)).toBe(false)
  expect(pid).toBe(process.pid)
})
