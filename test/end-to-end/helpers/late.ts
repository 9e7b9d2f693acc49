import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { expect } from 'vitest'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './database.js'
import { leftoversBeside, type Place, place, setAside } from './place.js'
import { binary, type Finished, printed, program, type Running, type RunOptions, start, startProcess } from './run.js'

export type Mode = 'wal' | 'delete'
export const inPlace = ['app', '--in-place', '--confirm', 'app']

/** The call of node:fs at which a run is stopped; see programs/pause-at.cjs. */
export interface Pause {
  call: string
  argument: 0 | 1
  path: string
  when: 'before' | 'after'
}

/** The rename that puts the restored database in its place. */
export const beforeRename: Pause = { call: 'renameSync', argument: 1, path: '/live/app.db', when: 'before' }
export const afterRename: Pause = { ...beforeRename, when: 'after' }
/** The journal that an overwriting begins with: the lock is held, and nothing has changed yet. */
export const beforeJournal: Pause = { call: 'openSync', argument: 0, path: '/live/app.db-journal', when: 'before' }

/** A user that is not root, from the system's own list. */
export function ordinaryUser(): { uid: number; gid: number } {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find(entry => entry.startsWith('daemon:'))
  const [, , uid, gid] = line?.split(':') ?? []
  return { uid: Number(uid), gid: Number(gid) }
}

/** A backup of generation 1, and a live database of generation 2 with a table for those that come late. */
export async function withBackup(mode: Mode, user: RunOptions = {}): Promise<Place> {
  const at = place()
  if (user.uid !== undefined) {
    chmodSync(at.directory, 0o777)
    mkdirSync(at.state)
    chmodSync(at.state, 0o777)
    for (const name of [dirname(at.database), at.keyFile]) {
      if (name !== undefined) chownSync(name, user.uid, user.gid ?? user.uid)
    }
  }
  await makeDatabase(at.database, { mode })
  const database = new Database(at.database)
  database.exec('CREATE TABLE late (number INTEGER)')
  database.close()
  if (user.uid !== undefined) chownSync(at.database, user.uid, user.gid ?? user.uid)
  await changeDatabase(at.database, 1, user)
  await at.ok('create', ['--init'], user)
  await changeDatabase(at.database, 2, user)
  return at
}

/** Starts a run that stops at these calls, one after another; resolves when it has stopped at the first. */
export async function pausedRun(
  at: Place,
  args: readonly string[],
  pauses: readonly Pause[],
  options: RunOptions = {},
): Promise<{ running: Running; goOn(): void; stopped(index: number): Promise<void> }> {
  const directory = mkdtempSync(join(at.directory, 'pause-'))
  chmodSync(directory, 0o777)
  const running = start([...args, ...at.flags], {
    ...options,
    node: ['--require', program('pause-at').replace(/mjs$/, 'cjs')],
    env: { PAUSES: JSON.stringify(pauses), PAUSE_DIRECTORY: directory },
  })
  let ended: Finished | undefined
  running.done.then(
    value => {
      ended = value
    },
    () => {},
  )
  const stopped = async (index: number) => {
    while (!existsSync(join(directory, `reached-${index}`))) {
      if (ended !== undefined) throw new Error(`ended with ${ended.code} and did not stop: ${ended.stderr}`)
      await sleep(5)
    }
  }
  await stopped(0)
  let released = 0
  const goOn = () => {
    writeFileSync(join(directory, `go-${released}`), '')
    released += 1
  }
  return { running, stopped, goOn }
}

/** An application that opens the database now and commits only when it is told to. */
export interface LateOpener {
  pid: number
  /** How many of its 300 commits were acknowledged. */
  work(): Promise<number>
}

let openers = 0

export async function lateOpener(at: Place, options: RunOptions = {}, path = at.database): Promise<LateOpener> {
  openers += 1
  const go = join(at.directory, `go-${openers}`)
  const opener = startProcess(process.execPath, [program('late-opener'), path, go, '300'], options)
  await printed(opener, 'open')
  return {
    pid: opener.child.pid ?? 0,
    async work() {
      writeFileSync(go, '')
      const { stdout } = await opener.done
      return Number(/acknowledged (\d+)/.exec(stdout)?.[1])
    },
  }
}

/** The database is sound, of this generation, and has every commit that was acknowledged. */
export function expectLive(at: Place, generation: number, acknowledged: number): void {
  expect(stateOf(at.database)).toEqual(expectedState(generation))
  const database = new Database(at.database)
  try {
    expect(database.prepare('SELECT count(*) FROM late').pluck().get()).toBe(acknowledged)
  } finally {
    database.close()
  }
  expect(leftoversBeside(at.database)).toEqual([])
}

/** Runs the command that a restore printed as its undo in a shell that finds `nexus-backup`. */
export function runPrinted(command: string): Promise<Finished> {
  const directory = temporaryDirectory()
  writeFileSync(join(directory, 'nexus-backup'), `#!/bin/sh\nexec '${process.execPath}' '${binary}' "$@"\n`)
  chmodSync(join(directory, 'nexus-backup'), 0o755)
  return startProcess('sh', ['-c', command], { env: { PATH: `${directory}:${process.env.PATH}` } }).done
}

/**
 * In-place restores, one after another, each with a program that opens the database as soon as it sees that one has
 * begun, and commits when the restore is over: nothing acknowledged is ever missing, and the database is always sound.
 */
export async function restoreUnderLateOpeners(rounds: number, user: RunOptions = {}): Promise<void> {
  const at = await withBackup('wal', user)
  let committed = 0
  let restored = false
  for (let round = 0; round < rounds; round += 1) {
    for (const name of setAside(at.database)) rmSync(name)
    const go = join(at.directory, `go-${round}`)
    const hunter = startProcess(process.execPath, [program('late-opener'), at.database, go, '20', 'hunt'], {})
    await printed(hunter, 'hunting')
    const { code, stderr } = await at.run('restore', inPlace, user)
    expect({ code, stderr: code === 0 || code === 8 ? '' : stderr }).toEqual({ code: expect.anything(), stderr: '' })
    writeFileSync(go, '')
    const acknowledged = Number(/acknowledged (\d+)/.exec((await hunter.done).stdout)?.[1])
    committed = (code === 0 ? 0 : committed) + acknowledged
    restored ||= code === 0
    expectLive(at, restored ? 1 : 2, committed)
  }
}
