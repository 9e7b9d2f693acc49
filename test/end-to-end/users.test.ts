import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { changeDatabase, crashAfterCommit, expectedState, holdOpen, makeDatabase, stateOf } from './helpers/database.js'
import { backupIds, leftoversBeside, type Place, place } from './helpers/place.js'

/** A user id from the system's own list. */
function idOf(name: string): { uid: number; gid: number } {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find(entry => entry.startsWith(`${name}:`))
  const [, , uid, gid] = line?.split(':') ?? []
  return { uid: Number(uid), gid: Number(gid) }
}

/** A place that two users can work in: the application's is `daemon`, the other one `nobody`. */
function shared(): Place & { application: { uid: number; gid: number }; stranger: { uid: number; gid: number } } {
  const at = place(undefined, { apart: true })
  const application = idOf('daemon')
  const stranger = idOf('nobody')
  chmodSync(at.directory, 0o777)
  if (at.keyFile !== undefined) {
    chmodSync(dirname(at.keyFile), 0o755)
    chownSync(at.keyFile, application.uid, application.gid)
  }
  mkdirSync(at.state)
  chmodSync(at.state, 0o777)
  // As bad as it gets: everybody may write there, so SQLite would happily leave files of the wrong owner.
  chmodSync(dirname(at.database), 0o777)
  chownSync(dirname(at.database), application.uid, application.gid)
  return { ...at, application, stranger }
}

// Skipped for an ordinary user, who cannot be two.
describe.skipIf(process.getuid?.() !== 0)('with two users', () => {
  it('a create by another user than the owner is refused, names the owner, and leaves the application writing', async () => {
    const { application, stranger, ...at } = shared()
    await makeDatabase(at.database, application)
    chmodSync(at.database, 0o666)
    const before = readdirSync(dirname(at.database))
    const { code, error } = await at.json('create', ['--init'], stranger)
    expect(code).toBe(8)
    expect(error.error.code).toBe('not_owner')
    expect(error.error.message).toContain('belongs to daemon')
    expect(error.error.hint).toContain('sudo -u daemon')
    expect(readdirSync(dirname(at.database))).toEqual(before)
    expect(readdirSync(at.directory)).not.toContain('repository')
    await changeDatabase(at.database, 1, application)
    expect(stateOf(at.database)).toEqual(expectedState(1))
  })

  it.each([
    ['root', { uid: 0, gid: 0 }],
    ['the owner', idOf('daemon')],
  ])('a create by %s leaves the application writing, its log being there or not', async (_, user) => {
    const { application, ...at } = shared()
    await makeDatabase(at.database, application)
    await at.ok('create', ['--init'], user)
    await changeDatabase(at.database, 1, application)
    await crashAfterCommit(at.database, 2, application)
    await at.ok('create', [], user)
    for (const name of readdirSync(dirname(at.database))) {
      expect({ name, uid: statSync(join(dirname(at.database), name)).uid }).toEqual({ name, uid: application.uid })
    }
    await changeDatabase(at.database, 3, application)
    expect(stateOf(at.database)).toEqual(expectedState(3))
    expect(backupIds(at)).toHaveLength(2)
  })

  it('an in-place restore by root keeps owner and mode, so that the application writes on', async () => {
    const { application, ...at } = shared()
    await makeDatabase(at.database, application)
    chmodSync(at.database, 0o640)
    await at.ok('create', ['--init'])
    await crashAfterCommit(at.database, 1, application)
    await at.ok('restore', ['app', '--in-place', '--confirm', 'app'])
    const { uid, gid, mode } = statSync(at.database)
    expect({ uid, gid, mode: mode & 0o777 }).toEqual({ ...application, mode: 0o640 })
    await changeDatabase(at.database, 2, application)
    await at.ok('restore', ['app', '--rollback', '--confirm', 'app'])
    await changeDatabase(at.database, 3, application)
    expect(stateOf(at.database)).toEqual(expectedState(3))
    expect(leftoversBeside(at.database)).toEqual([])
  })

  it('a database that another user has open is recognised as in use, and the user named', async () => {
    const { application, ...at } = shared()
    await makeDatabase(at.database, application)
    await at.ok('create', ['--init'])
    const holder = await holdOpen(at.database, application)
    const { code, error } = await at.json('restore', ['app', '--in-place', '--confirm', 'app'])
    expect(code).toBe(8)
    expect(error.error.message).toContain(`pid ${holder.child.pid}, user daemon`)
  })

  it('an ordinary user is told that other users’ programs could not be seen', async () => {
    const { application, ...at } = shared()
    await makeDatabase(at.database, application)
    await at.ok('create', ['--init'], application)
    const { code, stderr } = await at.run('restore', ['app', '--in-place', '--confirm', 'app'], application)
    expect(code).toBe(0)
    expect(stderr).toContain('other users')
  })
})
