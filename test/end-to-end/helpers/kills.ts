import { createHash } from 'node:crypto'
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { expect } from 'vitest'
import { testRepository } from '../../helpers/repository-kind.js'
import { storedIn } from '../../helpers/stored.js'
import { changeDatabase, crashAfterCommit, crashMidway, expectedState, makeDatabase, stateOf } from './database.js'
import { backupIds, leftoversBeside, leftoversIn, type Place, place, setAside } from './place.js'
import { type Running, run, start } from './run.js'
import { fakeSystemctl, withService } from './systemctl.js'

/** Runs that may be over before their moment, one after another, until the machine must be blamed. */
const MOST_MISSES = 20

/**
 * Has a run killed as a power cut would at so many moments, one in each equal part of an undisturbed run's duration and at
 * random within it: every phase is hit, and no two runs of the suite hit the same instants. The machine may be faster by
 * then than it was: a run that is over before its moment tells how long one takes now, and at least one is killed at work.
 *
 * @param duration milliseconds of an undisturbed run
 * @param round starts a run and gives it to `kill`, which resolves when it has ended; it sees what came of it
 * @param from the part of the duration before which no run is killed
 */
export async function atMoments(
  count: number,
  duration: number,
  round: (kill: (running: Running) => Promise<void>, index: number) => Promise<void>,
  from = 0,
): Promise<void> {
  let hits = 0
  let expected = duration
  for (let index = 0; index < count || hits === 0; index += 1) {
    if (index >= count + MOST_MISSES) throw new Error('every run was over before it could be killed')
    const moment = (from + ((1 - from) * ((index % count) + Math.random())) / count) * expected
    await round(async running => {
      await Promise.race([sleep(moment), running.done])
      running.child.kill('SIGKILL')
      const ended = await running.done
      if (ended.signal === 'SIGKILL') hits += 1
      else expected = Math.min(expected, ended.duration)
    }, index)
  }
}

/** Looks at a path as often as the machine allows until the work is done; throws when it was ever missing. */
export async function neverMissing<T>(path: string, work: Promise<T>): Promise<T> {
  let done = false
  const settled = work.finally(() => {
    done = true
  })
  settled.catch(() => {})
  while (!done) {
    for (let look = 0; look < 50; look += 1) {
      if (statSync(path, { throwIfNoEntry: false }) === undefined) throw new Error(`${path} was missing`)
    }
    await turn()
  }
  return settled
}

export function digestOf(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex')
}

/** Every backup that `list` shows must be sound. */
export async function expectListedSound(at: Place): Promise<void> {
  const { code, document } = await at.json('verify')
  if (code === 5) {
    expect(backupIds(at)).toEqual([])
    return
  }
  expect(document.results.filter((result: { status: string }) => result.status !== 'ok')).toEqual([])
  expect(code).toBe(0)
}

/** create, killed: no listed backup is damaged, the database is untouched, the next create needs no help. */
export async function killCreates(mode: 'wal' | 'delete', type: 'full' | 'incr', count: number): Promise<void> {
  const at = place()
  await makeDatabase(at.database, { mode })
  await at.ok('create', ['--init'])
  await changeDatabase(at.database, 1)
  const { duration } = await at.ok('create', ['--type', type])
  await atMoments(count, duration, async (kill, index) => {
    await changeDatabase(at.database, index + 2)
    const before = digestOf(at.database)
    await neverMissing(at.database, kill(at.start('create', ['--type', type])))
    expect(digestOf(at.database)).toBe(before)
    await expectListedSound(at)
    await at.ok('create', ['--type', type])
    expect(leftoversIn(at.repository)).toEqual([])
    expect(stateOf(at.database)).toEqual(expectedState(index + 2))
  })
  await expectListedSound(at)
}

/** Rows of a database that leaves a hot journal when its writer dies. */
const HOT_ROWS = 4000

/**
 * create, killed, of a database with a hot journal, which only a writer may roll back: both are byte for byte as they
 * were, and so they are after the next create, whose backup is the recovered content.
 */
export async function killHotCreates(count: number): Promise<void> {
  const at = place()
  await makeDatabase(at.database, { mode: 'delete', rows: HOT_ROWS })
  await changeDatabase(at.database, 1)
  await at.ok('create', ['--init'])
  await crashMidway(at.database, 2)
  const files = [at.database, `${at.database}-journal`]
  const before = files.map(digestOf)
  const { duration } = await at.ok('create', ['--type', 'full'])
  await atMoments(count, duration, async kill => {
    await neverMissing(at.database, kill(at.start('create', ['--type', 'full'])))
    expect(files.map(digestOf)).toEqual(before)
    await expectListedSound(at)
    await at.ok('create', ['--type', 'full'])
    expect(leftoversIn(at.repository)).toEqual([])
  })
  expect(files.map(digestOf)).toEqual(before)
  const restored = join(at.directory, 'restored.db')
  await at.ok('restore', ['app', '--to', restored])
  expect(stateOf(restored)).toEqual(expectedState(1, HOT_ROWS))
}

/**
 * An in-place restore, killed, over a database with a hot journal: what SQLite makes of the path is wholly the old
 * one's last commit or wholly the restored one, and never the new one with the old one's journal rolled into it.
 */
export async function killHotRestores(count: number): Promise<void> {
  const at = place()
  await makeDatabase(at.database, { mode: 'delete', rows: HOT_ROWS })
  await changeDatabase(at.database, 1)
  await at.ok('create', ['--init'])
  const restoring = [backupIds(at)[0] ?? '', '--in-place', '--confirm', 'app']
  await crashMidway(at.database, 2)
  const { duration } = await at.ok('restore', restoring)
  await atMoments(count, duration, async (kill, index) => {
    const generation = index + 3
    for (const name of setAside(at.database)) rmSync(name)
    await changeDatabase(at.database, generation)
    await crashMidway(at.database, 1_000_000)
    expect(statSync(`${at.database}-journal`).size).toBeGreaterThan(0)
    await neverMissing(at.database, kill(at.start('restore', restoring)))
    const found = stateOf(at.database)
    expect([expectedState(generation, HOT_ROWS), expectedState(1, HOT_ROWS)]).toContainEqual(found)
    await at.ok('create', ['--type', 'full'])
    expect(stateOf(at.database)).toEqual(found)
    expect(leftoversBeside(at.database)).toEqual([])
    const asides = setAside(at.database).map(name => stateOf(name))
    expect(asides).toEqual(found.generation === 1 ? [expectedState(generation, HOT_ROWS)] : [])
  })
}

/** prune, killed: what is listed is sound, what must be kept is there, and the next prune finishes. */
export async function killPrunes(count: number): Promise<void> {
  const at = place()
  const template = testRepository(join(at.directory, 'template'), join(at.directory, 'key')).repository
  await makeDatabase(at.database, { rows: 40 })
  await at.ok('create', ['--init', '--type', 'full'])
  for (const type of ['incr', 'full', 'incr', 'full', 'full']) await at.ok('create', ['--type', type])
  storedIn(at.repository).copyTo(template)
  const newest = backupIds(at).at(-1)
  const { duration } = await at.ok('prune', ['app', '--keep-last', '1'])
  await atMoments(count, duration, async kill => {
    storedIn(at.repository).remove('')
    storedIn(template).copyTo(at.repository)
    await kill(at.start('prune', ['app', '--keep-last', '1']))
    expect(backupIds(at)).toContain(newest)
    await expectListedSound(at)
    await at.ok('prune', ['app', '--keep-last', '1'])
    expect(backupIds(at)).toEqual([newest])
    expect(leftoversIn(at.repository)).toEqual([])
  })
}

/**
 * An in-place restore, killed, of a database that a crashed application left with committed content in its log: the
 * database is wholly old, log included, or wholly new, never missing, and the next run of any kind cleans up.
 */
export async function killRestores(count: number, mode: 'wal' | 'delete' = 'wal'): Promise<void> {
  const at = place()
  await makeDatabase(at.database, { mode })
  await changeDatabase(at.database, 1)
  await at.ok('create', ['--init'])
  const restoring = [backupIds(at)[0] ?? '', '--in-place', '--confirm', 'app']
  const { duration } = await at.ok('restore', restoring)
  await atMoments(count, duration, async (kill, index) => {
    const generation = index + 2
    for (const name of setAside(at.database)) rmSync(name)
    await crashAfterCommit(at.database, generation)
    if (mode === 'wal') expect(statSync(`${at.database}-wal`).size).toBeGreaterThan(0)
    await neverMissing(at.database, kill(at.start('restore', restoring)))
    const found = stateOf(at.database)
    expect([expectedState(generation), expectedState(1)]).toContainEqual(found)
    // Any command of this source's is the next run: here one that would carry damage on.
    await at.ok('create', ['--type', 'full'])
    expect(stateOf(at.database)).toEqual(found)
    expect(leftoversBeside(at.database)).toEqual([])
    if (found.generation === 1) {
      const [aside] = setAside(at.database)
      expect(stateOf(aside ?? 'nothing was set aside')).toEqual(expectedState(generation))
      expect(setAside(at.database)).toHaveLength(1)
    } else expect(setAside(at.database)).toEqual([])
  })
}

/** The same for a database that SQLite cannot open: its bytes and its log's are there, or the restored one is. */
export async function killReplacements(count: number): Promise<void> {
  const at = place()
  await makeDatabase(at.database)
  await changeDatabase(at.database, 1)
  await at.ok('create', ['--init'])
  const restoring = ['app', '--in-place', '--confirm', 'app']
  spoil(at.database)
  const { duration } = await at.ok('restore', restoring)
  await atMoments(count, duration, async kill => {
    for (const name of setAside(at.database)) for (const suffix of ['', '-wal']) rmSync(name + suffix, { force: true })
    const spoiled = spoil(at.database)
    await neverMissing(at.database, kill(at.start('restore', restoring)))
    if (digestOf(at.database) !== spoiled) expect(stateOf(at.database)).toEqual(expectedState(1))
    await at.ok('restore', restoring)
    expect(stateOf(at.database)).toEqual(expectedState(1))
    expect(leftoversBeside(at.database).filter(name => !name.includes('.before-restore-'))).toEqual([])
    // Whatever was replaced first must still be there, whole, with its log.
    const kept = setAside(at.database).filter(name => digestOf(name) === spoiled)
    expect(kept).toHaveLength(1)
    expect(readFileSync(`${kept[0]}-wal`, 'latin1')).toBe('a log that belongs to the damaged database')
  })
}

/** A rollback, killed, between a database that nobody could open, with its log, and a sound one. */
export async function killRollbacks(count: number): Promise<void> {
  const at = place()
  const rollback = ['app', '--rollback', '--confirm', 'app']
  await makeDatabase(at.database)
  await changeDatabase(at.database, 1)
  await at.ok('create', ['--init'])
  const spoiled = spoil(at.database)
  const log = digestOf(`${at.database}-wal`)
  await at.ok('restore', ['app', '--in-place', '--confirm', 'app'])
  const { duration } = await at.ok('restore', rollback)
  const isSpoiled = () => digestOf(at.database) === spoiled
  await atMoments(count, duration, async kill => {
    const before = isSpoiled()
    await neverMissing(at.database, kill(at.start('restore', rollback)))
    // The sound one is never seen beside the other's log.
    if (!isSpoiled()) {
      expect(stateOf(at.database)).toEqual(expectedState(1))
      expect(existsSync(`${at.database}-wal`) && digestOf(`${at.database}-wal`) === log).toBe(false)
    }
    // The next run finishes or undoes it; both databases are there, whole, one in place and the other set aside.
    await at.run('create')
    const aside = setAside(at.database)
    expect(aside).toHaveLength(1)
    const [damaged, sound] = isSpoiled() ? [at.database, aside[0] ?? ''] : [aside[0] ?? '', at.database]
    expect(digestOf(damaged)).toBe(spoiled)
    expect(digestOf(`${damaged}-wal`)).toBe(log)
    expect(stateOf(sound)).toEqual(expectedState(1))
    expect(leftoversBeside(at.database).filter(name => !name.includes('.before-restore-'))).toEqual([])
    if (before === isSpoiled()) await at.ok('restore', rollback)
  })
}

/** An in-place restore, killed, with a service: whatever was stopped is started again by the next run. */
export async function killRestoresWithService(count: number): Promise<void> {
  const at = place()
  await makeDatabase(at.database)
  await at.ok('create', ['--init'])
  const systemctl = fakeSystemctl(at.directory)
  const flags = withService(at.directory, at)
  const restoring = ['restore', backupIds(at)[0] ?? '', '--in-place', '--confirm', 'app', ...flags]
  const { code, duration } = await run(restoring, systemctl)
  expect(code).toBe(0)
  const round = async (kill: (running: Running) => Promise<void>) => {
    await neverMissing(at.database, kill(start(restoring, systemctl)))
    expect(await run(['create', ...flags], systemctl)).toMatchObject({ code: 0 })
    const calls = systemctl.calls()
    const stopped = calls.lastIndexOf('stop -- app.service')
    expect(calls.slice(stopped)).toContain('start -- app.service')
    expect(leftoversBeside(at.database)).toEqual([])
  }
  // The service is stopped for the last part of a run only.
  await atMoments(count, duration, round, 0.4)
}

/** Makes a database unreadable, with a log beside it that must not be lost; returns its digest. */
export function spoil(path: string): string {
  const bytes = readFileSync(path)
  bytes.write('this is not a database any more', 0, 'latin1')
  writeFileSync(path, bytes)
  writeFileSync(`${path}-wal`, 'a log that belongs to the damaged database')
  rmSync(`${path}-shm`, { force: true })
  return digestOf(path)
}
