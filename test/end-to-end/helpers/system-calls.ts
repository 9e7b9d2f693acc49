import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { expect } from 'vitest'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { portrait } from '../../sources/files/trees.js'
import { changeDatabase, crashAfterCommit, expectedState, makeDatabase, stateOf } from './database.js'
import { backupIds, leftoversBeside, place, setAside } from './place.js'
import { binary, type Finished, startProcess } from './run.js'
import { filesPlace } from './tree.js'

/** Calls that change a file system, or make a change last; what only waits or reads leaves nothing behind. */
const CHANGING = [
  ...['rename', 'renameat', 'renameat2', 'link', 'linkat', 'unlink', 'unlinkat', 'symlink', 'symlinkat'],
  ...['mkdir', 'mkdirat', 'rmdir', 'mknod', 'mknodat', 'ftruncate', 'fallocate', 'pwrite64', 'pwritev', 'write'],
  ...['fsync', 'fdatasync', 'fchmod', 'fchown', 'chmod', 'lchown', 'utimensat', 'fsetxattr', 'setxattr'],
]

/** Whether this machine has strace and lets it trace. */
export const canTrace = spawnSync('strace', ['-qq', '-o', '/dev/null', 'true']).status === 0

/** One call, by its name and its number among those of that name in one thread. */
export interface Call {
  name: string
  number: number
}

export interface TracedRun {
  args: readonly string[]
  /** Whether the system refuses hard links to it. */
  links: boolean
}

/** Kills a run as it enters a call, before the call does anything. Whether the run came that far. */
export async function killedAt(run: TracedRun, { name, number }: Call): Promise<boolean> {
  const ended = await traced(run, name, ['-e', `inject=${name}:signal=SIGKILL:when=${number}`], '/dev/null')
  return ended.signal === 'SIGKILL'
}

/** Every call of an undisturbed run that changes something, in the order of names and numbers. */
export async function callsOf(run: TracedRun): Promise<Call[]> {
  const file = join(temporaryDirectory(), 'trace')
  const ended = await traced(run, CHANGING.map(name => `?${name}`).join(), [], file)
  expect(ended, ended.stderr).toMatchObject({ code: 0 })
  const counts = new Map<string, Map<string, number>>()
  for (const [, thread = '', name = ''] of readFileSync(file, 'latin1').matchAll(/^(\d+) +([a-z0-9]+)\(/gm)) {
    const ofThread = counts.get(name) ?? new Map<string, number>()
    counts.set(name, ofThread.set(thread, (ofThread.get(thread) ?? 0) + 1))
  }
  return [...counts].flatMap(([name, threads]) => {
    return Array.from({ length: Math.max(...threads.values()) }, (_, at) => ({ name, number: at + 1 }))
  })
}

/** So many of some calls, one at random in each equal part; all where there are no more. */
export function spread(calls: readonly Call[], count: number): Call[] {
  if (calls.length <= count) return [...calls]
  return Array.from({ length: count }, (_, part) => {
    const at = Math.floor(((part + Math.random()) / count) * calls.length)
    return calls[at] ?? { name: 'rename', number: 1 }
  })
}

function traced({ args, links }: TracedRun, calls: string, more: string[], output: string): Promise<Finished> {
  const refused = links ? [] : ['-e', 'inject=link,linkat:error=EPERM']
  const trace = ['-e', `trace=${calls}${links ? '' : ',link,linkat'}`]
  const options = ['-f', '-qq', '-o', output, ...trace, ...refused, ...more]
  return startProcess('strace', [...options, process.execPath, binary, ...args]).done
}

/**
 * An in-place restore of a database, over a log with committed content, killed at calls that change something: the
 * database is wholly old or wholly new, and the next run finishes.
 *
 * @param count calls to be killed at; all of them by default
 * @returns how often it was killed
 */
export async function killDatabaseRestores(links: boolean, count = Number.POSITIVE_INFINITY): Promise<number> {
  const at = place()
  await makeDatabase(at.database, { rows: 200 })
  await changeDatabase(at.database, 1)
  await at.ok('create', ['--init'])
  const restoring = [backupIds(at)[0] ?? '', '--in-place', '--confirm', 'app']
  const run = { args: ['restore', ...restoring, ...at.flags], links }
  await crashAfterCommit(at.database, 2)
  const calls = spread(await callsOf(run), count)
  let kills = 0
  for (const [index, call] of calls.entries()) {
    const generation = index + 3
    for (const name of setAside(at.database)) rmSync(name)
    await crashAfterCommit(at.database, generation)
    if (await killedAt(run, call)) kills += 1
    const where = `killed at ${call.name} ${call.number}`
    const [old, fresh] = [generation, 1].map(one => expectedState(one, 200))
    const found = stateOf(at.database)
    expect([old, fresh], where).toContainEqual(found)
    await at.ok('create', ['--type', 'full'])
    expect(stateOf(at.database), where).toEqual(found)
    expect(leftoversBeside(at.database), where).toEqual([])
    expect(
      setAside(at.database).map(name => stateOf(name)),
      where,
    ).toEqual(found.generation === 1 ? [old] : [])
  }
  return kills
}

/** The same of a tree with two roots: each is wholly old or wholly new once the next run has begun, and both are alike. */
export async function killTreeRestores(links: boolean, count = Number.POSITIVE_INFINITY): Promise<number> {
  const at = filesPlace()
  const { uploads, logs } = at
  const picture = () => JSON.stringify([uploads, logs].map(root => portrait(root).entries))
  mkdirSync(join(uploads, 'sub'))
  for (const name of ['a', 'sub/b']) writeFileSync(join(uploads, name), name.repeat(500))
  // Where it cannot be restored as one, the run ends with 3.
  if (links) linkSync(join(uploads, 'a'), join(uploads, 'sub/same'))
  symlinkSync('a', join(uploads, 'link'))
  writeFileSync(join(logs, 'log'), 'line\n')
  const { backups } = (await at.json('create', ['--init'])) as { backups: { id: string }[] }
  const fresh = picture()
  const asides = () => readdirSync(dirname(uploads)).filter(name => name.includes('.before-restore-'))
  const change = (round: number) => {
    for (const name of asides()) rmSync(join(dirname(uploads), name), { recursive: true })
    writeFileSync(join(uploads, 'a'), `live ${round}`)
    writeFileSync(join(logs, 'log'), `live ${round}`)
    rmSync(join(uploads, 'sub/b'), { force: true })
    return picture()
  }
  const config = ['--config', join(at.room, 'config.yaml')]
  const run = { args: ['restore', backups[0]?.id ?? '', '--in-place', '--confirm', 'up', ...config], links }
  change(0)
  const calls = spread(await callsOf(run), count)
  let kills = 0
  for (const [index, call] of calls.entries()) {
    const old = change(index + 1)
    if (await killedAt(run, call)) kills += 1
    const where = `killed at ${call.name} ${call.number}`
    // The next run finishes or undoes it before it looks at anything.
    await at.json('create', ['up'])
    const found = picture()
    expect([old, fresh], where).toContain(found)
    expect(asides(), where).toHaveLength(found === fresh ? 2 : 0)
    const left = readdirSync(dirname(uploads)).filter(name => !['uploads', 'logs', ...asides()].includes(name))
    expect(left, where).toEqual([])
    // What was set aside is what there was.
    if (found === fresh) {
      for (const root of [uploads, logs]) {
        rmSync(root, { recursive: true })
        const aside = asides().find(name => name.startsWith(`${basename(root)}.`)) ?? ''
        renameSync(join(dirname(root), aside), root)
      }
      expect(picture(), where).toBe(old)
    }
  }
  return kills
}

/**
 * A merge over a database with a log, of a database with a log of its own, and its undo: killed at calls that change
 * something, an application that starts at once finds a database that is wholly old or wholly new. What the next run does
 * leaves all of it merged, or all as it was.
 *
 * @param which run is killed
 */
export async function killMerges(which: 'merge' | 'undo', count = Number.POSITIVE_INFINITY): Promise<number> {
  const at = filesPlace()
  const { room, uploads } = at
  await makeDatabase(join(uploads, 'app.db'), { rows: 200 })
  await crashAfterCommit(join(uploads, 'app.db'), 1)
  mkdirSync(join(uploads, 'new/inner'), { recursive: true })
  for (const name of ['file', 'new/inner/file']) writeFileSync(join(uploads, name), 'then')
  await at.run('create', ['--init'])
  const [template, into] = [join(room, 'template'), join(room, 'into')]
  const target = join(into, uploads)
  mkdirSync(join(template, uploads), { recursive: true })
  await makeDatabase(join(template, uploads, 'app.db'), { rows: 200 })
  await crashAfterCommit(join(template, uploads, 'app.db'), 5)
  writeFileSync(join(template, uploads, 'file'), 'now')
  const beside = () => readdirSync(room).filter(name => /^\.into|before-merge/.test(name))
  const merge = ['up', '--merge', '--overwrite', 'always', '--to', into]
  const undo = ['up', '--rollback', '--to', into]
  const begin = async () => {
    for (const name of [...beside(), 'into']) rmSync(join(room, name), { recursive: true, force: true })
    cpSync(template, into, { recursive: true, preserveTimestamps: true })
    if (which === 'undo') await at.json('restore', merge)
  }
  const [old, fresh] = [5, 1].map(generation => JSON.stringify(expectedState(generation, 200)))
  const files = () =>
    ['file', 'new/inner/file'].map(name => {
      return existsSync(join(target, name)) ? readFileSync(join(target, name), 'utf8') : null
    })
  const run = {
    args: ['restore', ...(which === 'merge' ? merge : undo), '--config', join(room, 'config.yaml')],
    links: true,
  }
  await begin()
  const calls = spread(await callsOf(run), count)
  let kills = 0
  for (const call of calls) {
    await begin()
    if (await killedAt(run, call)) kills += 1
    const where = `killed at ${call.name} ${call.number}`
    expect([old, fresh], where).toContain(JSON.stringify(stateOf(join(target, 'app.db'))))
    const [file, added] = files()
    expect([['now', 'then'].includes(file ?? ''), [null, 'then'].includes(added ?? null)], where).toEqual([true, true])
    // Not begun: 5. Else it is finished first, and undone or, where it is the undo, done.
    const { code, stderr } = await at.run('restore', undo)
    expect([0, 5], `${where}: ${stderr}`).toContain(code)
    const isOver = which === 'undo' && JSON.stringify(stateOf(join(target, 'app.db'))) === fresh
    if (isOver) await at.json('restore', undo)
    expect(JSON.stringify(stateOf(join(target, 'app.db'))), where).toBe(old)
    expect(files(), where).toEqual(['now', null])
    expect(
      beside().filter(name => name.startsWith('.')),
      where,
    ).toEqual([])
  }
  return kills
}
