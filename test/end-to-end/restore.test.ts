import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { storedIn } from '../helpers/stored.js'
import { changeDatabase, crashAfterCommit, expectedState, holdOpen, makeDatabase, stateOf } from './helpers/database.js'
import { digestOf, spoil } from './helpers/kills.js'
import { backupIds, leftoversBeside, type Place, place, setAside } from './helpers/place.js'
import { printed, program, run, startProcess } from './helpers/run.js'
import { fakeSystemctl, withService } from './helpers/systemctl.js'

const inPlace = ['app', '--in-place', '--confirm', 'app']
const rollback = ['app', '--rollback', '--confirm', 'app']

/** A backup of generation 1, and generation 2 in the log of an application that crashed. */
async function crashed(): Promise<Place> {
  const at = place()
  await makeDatabase(at.database)
  await changeDatabase(at.database, 1)
  await at.ok('create', ['--init'])
  await crashAfterCommit(at.database, 2)
  return at
}

describe('an in-place restore', () => {
  it('keeps what it replaced, with what was committed only to the log', async () => {
    const at = await crashed()
    const { code, document } = await at.json('restore', inPlace)
    expect(code).toBe(0)
    expect(stateOf(at.database)).toEqual(expectedState(1))
    expect(stateOf(document.previous)).toEqual(expectedState(2))
    expect(leftoversBeside(at.database)).toEqual([])
    expect(existsSync(`${at.database}-wal`)).toBe(false)
  })

  it('is refused while a program has the database open, names it, and replaces nothing', async () => {
    const at = await crashed()
    const holder = await holdOpen(at.database)
    const { code, error } = await at.json('restore', inPlace)
    expect(code).toBe(8)
    expect(error.error.code).toBe('database_in_use')
    expect(error.error.message).toContain(`pid ${holder.child.pid}`)
    expect(error.error.message).toContain('hold-open.mjs')
    expect(stateOf(at.database)).toEqual(expectedState(2))
    expect(leftoversBeside(at.database)).toEqual([])
    expect(setAside(at.database)).toEqual([])
  })

  it('is refused while a transaction is open', async () => {
    const at = await crashed()
    const holder = startProcess(process.execPath, [program('hold-open'), at.database, 'write'])
    await printed(holder, 'open')
    const { code } = await at.json('restore', inPlace)
    expect(code).toBe(8)
    expect(leftoversBeside(at.database)).toEqual([])
  })

  it('never takes the place of an earlier set-aside, even when the clock stands still or goes back', async () => {
    const at = await crashed()
    await at.ok('restore', inPlace)
    const [first = ''] = setAside(at.database)
    const kept = digestOf(first)
    await changeDatabase(at.database, 3)
    const later = first.replace(/-\d{4}/, '-2999')
    writeFileSync(later, readFileSync(first))
    await at.ok('restore', inPlace)
    expect(setAside(at.database)).toHaveLength(3)
    expect(digestOf(first)).toBe(kept)
    // The clock is behind that name, and still the last restore is the one that is rolled back.
    await at.ok('restore', rollback)
    expect(stateOf(at.database)).toEqual(expectedState(3))
  })

  it('stops the service for the swap and starts it afterwards', async () => {
    const at = await crashed()
    const systemctl = fakeSystemctl(at.directory)
    const { code, stderr } = await run(['restore', ...inPlace, ...withService(at.directory, at)], systemctl)
    expect(stderr).toBe('')
    expect(code).toBe(0)
    expect(systemctl.calls()).toEqual(['stop -- app.service', 'start -- app.service'])
    expect(stateOf(at.database)).toEqual(expectedState(1))
  })

  it('replaces nothing when the service cannot be stopped', async () => {
    const at = await crashed()
    const systemctl = fakeSystemctl(at.directory, 'stop')
    const { code, stderr } = await run(['restore', ...inPlace, ...withService(at.directory, at)], systemctl)
    expect(code).toBe(1)
    expect(stderr).toContain('could not stop app.service: Job for app.service failed.')
    expect(stderr).toContain('nothing was replaced')
    expect(stateOf(at.database)).toEqual(expectedState(2))
    expect(leftoversBeside(at.database)).toEqual([])
    // What could not be stopped may be half stopped.
    expect(systemctl.calls()).toEqual(['stop -- app.service', 'start -- app.service'])
  })

  it('says that the database is restored and the service down when it cannot be started', async () => {
    const at = await crashed()
    const systemctl = fakeSystemctl(at.directory, 'start')
    const { code, stderr } = await run(['restore', ...inPlace, ...withService(at.directory, at)], systemctl)
    expect(code).toBe(1)
    expect(stderr).toContain(`what stood there lies at ${setAside(at.database)[0]}`)
    expect(stderr).toContain('could not start app.service')
    expect(stderr).toContain('systemctl start app.service')
    expect(stateOf(at.database)).toEqual(expectedState(1))
    expect(leftoversBeside(at.database)).toEqual([])
  })

  it('starts the service again when the stopped application left the database in use, and says who uses it', async () => {
    const at = await crashed()
    const systemctl = fakeSystemctl(at.directory)
    const holder = await holdOpen(at.database)
    const { code, stderr } = await run(['restore', ...inPlace, ...withService(at.directory, at)], systemctl)
    expect(code).toBe(8)
    expect(stderr).toContain(`pid ${holder.child.pid}`)
    expect(systemctl.calls()).toEqual(['stop -- app.service', 'start -- app.service'])
    expect(stateOf(at.database)).toEqual(expectedState(2))
  })
})

describe('restore --rollback', () => {
  it('brings back exactly what was there, and a second one what was restored', async () => {
    const at = await crashed()
    const { document } = await at.json('restore', inPlace)
    const [replaced, restored] = [digestOf(document.previous), digestOf(at.database)]
    const { ino, mode } = statSync(document.previous)
    await at.ok('restore', rollback)
    expect(digestOf(at.database)).toBe(replaced)
    expect(statSync(at.database)).toMatchObject({ ino, mode })
    expect(stateOf(at.database)).toEqual(expectedState(2))
    expect(digestOf(setAside(at.database)[0] ?? '')).toBe(restored)
    await at.ok('restore', rollback)
    expect(digestOf(at.database)).toBe(restored)
    await at.ok('restore', rollback)
    expect(digestOf(at.database)).toBe(replaced)
    expect(setAside(at.database)).toHaveLength(1)
    expect(leftoversBeside(at.database)).toEqual([])
  })

  it('brings back a database that nobody could open, with its log, byte for byte', async () => {
    const at = await crashed()
    const spoiled = spoil(at.database)
    const log = digestOf(`${at.database}-wal`)
    await at.ok('restore', inPlace)
    expect(existsSync(`${at.database}-wal`)).toBe(false)
    await changeDatabase(at.database, 5)
    await at.ok('restore', rollback)
    expect(digestOf(at.database)).toBe(spoiled)
    expect(digestOf(`${at.database}-wal`)).toBe(log)
    await at.ok('restore', rollback)
    expect(stateOf(at.database)).toEqual(expectedState(5))
    expect(leftoversBeside(at.database).filter(name => !name.includes('.before-restore-'))).toEqual([])
  })

  it('finds nothing to roll back where nothing was restored', async () => {
    const at = await crashed()
    const { code, error } = await at.json('restore', rollback)
    expect(code).toBe(5)
    expect(error.error.code).toBe('nothing_to_roll_back')
  })

  it('does not roll back an older restore when the last one was killed before it replaced anything', async () => {
    const at = await crashed()
    await at.ok('restore', inPlace)
    await changeDatabase(at.database, 3)
    const record = `${at.directory}/live/.app.db.nexus-restore.json`
    const staged = `${at.directory}/live/.app.db.nexus-restore-dead-1`
    writeFileSync(staged, 'half')
    const died = { format: 1, pid: 1, started: 'long ago', target: at.database, staged, scratch: true, service: null }
    writeFileSync(record, JSON.stringify({ ...died, previous: `${at.database}.before-restore-x`, swap: null }))
    const { code, error } = await at.json('restore', rollback)
    expect(code).toBe(8)
    expect(error.error.code).toBe('restore_was_undone')
    expect(stateOf(at.database)).toEqual(expectedState(3))
    expect(leftoversBeside(at.database)).toEqual([])
    await at.ok('restore', rollback)
    expect(stateOf(at.database)).toEqual(expectedState(2))
  })
})

describe('a restored backup', () => {
  it('of any type is the same whether restore or the recover.mjs in the repository makes it', async () => {
    const at = place()
    await makeDatabase(at.database)
    await at.ok('create', ['--init', '--type', 'full'])
    for (const [index, type] of ['diff', 'incr', 'incr'].entries()) {
      await changeDatabase(at.database, index + 1)
      await at.ok('create', ['--type', type])
    }
    const directory = storedIn(at.repository).asDirectory()
    for (const [index, id] of backupIds(at).entries()) {
      const [mine, script] = [`${at.directory}/restored-${index}.db`, `${at.directory}/recovered-${index}.db`]
      await at.ok('restore', [id, '--to', mine])
      const recover = startProcess(process.execPath, [
        `${directory}/recover.mjs`,
        `${directory}/app/${id}`,
        script,
        ...(at.keyFile === undefined ? [] : ['--key-file', at.keyFile]),
      ])
      expect(await recover.done).toMatchObject({ code: 0 })
      expect(digestOf(script)).toBe(digestOf(mine))
      expect(stateOf(mine)).toEqual(expectedState(index))
      rmSync(script)
    }
  })
})
