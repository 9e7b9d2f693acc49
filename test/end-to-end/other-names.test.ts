import { existsSync, linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { changeDatabase, crashAfterCommit, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { inPlace } from './helpers/late.js'
import { backupIds, type Place, place, setAside } from './helpers/place.js'
import { printed, type Running, startProcess } from './helpers/run.js'
import { canMount } from './helpers/small-disk.js'

/** An application at work in a mount namespace of its own, where the database alone is mounted as another file. */
async function inContainer(at: Place, work: readonly string[], until: string): Promise<Running> {
  const other = join(at.directory, 'container')
  mkdirSync(other, { recursive: true })
  writeFileSync(join(other, 'inside.db'), '')
  const script = 'mount --bind "$1" "$2/inside.db" && shift && at="$1/inside.db" && shift && exec "$@" "$at"'
  const run = ['sh', '-c', script, 'sh', at.database, other, process.execPath, ...work]
  const [name = '', ...rest] = run
  const running = startProcess('unshare', ['--mount', name, ...rest])
  await printed(running, until)
  return running
}

const committing = `
  const Database = require('better-sqlite3')
  const database = new Database(process.argv.at(-1))
  database.pragma('wal_autocheckpoint = 0')
  for (let n = 0; n < 500; n += 1) database.exec('UPDATE marker SET generation = generation + 1')
  process.stdout.write('committed')
  setInterval(() => {}, 1 << 30)
`

describe.skipIf(!canMount)('a database that is mounted by itself in a container', () => {
  it('is refused by create and by an in-place restore, the process named, unless told otherwise', async () => {
    const at = place()
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    const container = await inContainer(at, ['-e', committing], 'committed')
    const { code, error } = await at.json('create')
    expect(code).toBe(8)
    expect(error.error.code).toBe('other_names')
    expect(error.error.message).toContain(join(at.directory, 'container', 'inside.db-wal'))
    expect(error.error.message).toContain(`pid ${container.child.pid}`)
    expect(error.error.hint).toContain('--allow-other-names')
    expect(backupIds(at)).toHaveLength(1)
    expect((await at.json('create', ['--dry-run'])).code).toBe(8)
    const told = await at.run('create', ['--allow-other-names'])
    expect(told.code).toBe(0)
    expect(told.stderr).toContain('inside.db-wal')
    const restore = await at.json('restore', inPlace)
    expect([restore.code, restore.error.error.code]).toEqual([8, 'other_names'])
  })

  it('is refused while nobody has it open, and its content is replaced within the file when told', async () => {
    const at = place()
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    await changeDatabase(at.database, 1)
    const idle = "process.stdout.write('idle'); setInterval(() => {}, 1 << 30)"
    const container = await inContainer(at, ['-e', idle], 'idle')
    const { code, error } = await at.json('restore', inPlace)
    expect([code, error.error.code]).toEqual([8, 'other_names'])
    expect(error.error.message).toContain(`pid ${container.child.pid}`)
    expect(setAside(at.database)).toEqual([])
    await at.ok('restore', [...inPlace, '--allow-other-names'])
    expect(stateOf(at.database)).toEqual(expectedState(0))
    // The container sees it: its mount is of the same file.
    const seen = `/proc/${container.child.pid}/root${join(at.directory, 'container', 'inside.db')}`
    expect(stateOf(seen)).toEqual(expectedState(0))
    expect(setAside(at.database).map(stateOf)).toEqual([expectedState(1)])
  })
})

describe('a database with hard links', () => {
  it('is refused, and with --allow-other-names all of its names get the restored content', async () => {
    const at = place()
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    await changeDatabase(at.database, 1)
    const other = join(at.directory, 'other.db')
    linkSync(at.database, other)
    for (const [command, args] of [
      ['create', []],
      ['restore', inPlace],
    ] as const) {
      const { code, error } = await at.json(command, args)
      expect([code, error.error.code]).toEqual([8, 'other_names'])
      expect(error.error.message).toContain('2 hard links')
    }
    await at.ok('restore', [...inPlace, '--allow-other-names'])
    expect([at.database, other].map(stateOf)).toEqual([expectedState(0), expectedState(0)])
    expect(setAside(at.database).map(stateOf)).toEqual([expectedState(1)])
    await at.ok('restore', ['app', '--rollback', '--confirm', 'app', '--allow-other-names'])
    expect([at.database, other].map(stateOf)).toEqual([expectedState(1), expectedState(1)])
    expect(setAside(at.database).map(stateOf)).toEqual([expectedState(0)])
  })
})

describe('a database that is named by a symbolic link', () => {
  it('is backed up with the log beside the real file, and restored there', async () => {
    const at = place()
    const real = join(at.directory, 'real', 'real.db')
    mkdirSync(join(at.directory, 'real'))
    await makeDatabase(real)
    symlinkSync(real, at.database)
    await crashAfterCommit(at.database, 1)
    expect(existsSync(`${real}-wal`)).toBe(true)
    await at.ok('create', ['--init'])
    const restored = join(at.directory, 'restored.db')
    await at.ok('restore', ['app', '--to', restored])
    expect(stateOf(restored)).toEqual(expectedState(1))
    await changeDatabase(at.database, 2)
    await at.ok('restore', inPlace)
    expect(stateOf(real)).toEqual(expectedState(1))
    expect(setAside(real).map(stateOf)).toEqual([expectedState(2)])
  })
})
