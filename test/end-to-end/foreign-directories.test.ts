import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { giveToNobody, nobody, openRoom, victimOf } from './helpers/exchanger.js'
import { restoreDatabaseBeside, restoreFilesBeside, workInRepository } from './helpers/foreign-runs.js'
import { leftoversBeside, type Place, place } from './helpers/place.js'
import { run } from './helpers/run.js'
import { fakeSystemctl, withService } from './helpers/systemctl.js'

/** A database in a directory of the ordinary user, backed up by root. */
async function foreignPlace(): Promise<Place & { room: string; live: string }> {
  const room = openRoom()
  const at = place(join(room, 'app'))
  await makeDatabase(at.database)
  await at.ok('create', ['--init'])
  await changeDatabase(at.database, 1)
  const live = dirname(at.database)
  giveToNobody(live)
  return { ...at, room, live }
}

// Only root can be led astray by another user.
describe.skipIf(process.getuid?.() !== 0)('root in a directory of an ordinary user', () => {
  it('restores a database in place, with its owner and mode, and leaves nothing', async () => {
    const at = await foreignPlace()
    chmodSync(at.database, 0o640)
    await at.ok('restore', ['app', '--in-place', '--confirm', 'app'])
    expect(stateOf(at.database)).toEqual(expectedState(0))
    expect(lstatSync(at.database)).toMatchObject({ ...nobody, mode: 0o100640 })
    expect(leftoversBeside(at.database)).toEqual([])
    await at.ok('restore', ['app', '--rollback', '--confirm', 'app'])
    expect(stateOf(at.database)).toEqual(expectedState(1))
  })

  // test/soak/foreign-directories.test.ts does it more often.
  it('gives nothing away when the staged database is exchanged', () => restoreDatabaseBeside(3), 240_000)
  it(
    'gives nothing away when a database with other names is overwritten',
    () => restoreDatabaseBeside(2, true),
    240_000,
  )
  it('gives nothing away when the staged tree is exchanged', () => restoreFilesBeside(1), 240_000)
  it('gives nothing away in a repository and a state directory', () => workInRepository(1), 240_000)

  it('replaces nothing that the database is a link to', async () => {
    const at = await foreignPlace()
    const victim = victimOf(at.room)
    const before = victim.picture()
    for (const aim of [victim.secret, victim.database]) {
      const args = ['restore', 'app', '--in-place', '--confirm', 'app']
      const link = join(at.live, `link-${aim.length}.db`)
      symlinkSync(aim, link)
      giveToNobody(link)
      const flags = at.flags.map(flag => (flag === at.database ? link : flag))
      const named = await run([...args, '--name', 'app', ...flags, '--json'])
      expect(named.code, named.stderr).not.toBe(0)
      const to = await run(['restore', 'app', '--to', link, '--force', ...at.flags, '--json'])
      expect(to.code).toBe(8)
      expect(JSON.parse(to.stderr).error.code).toBe('link_of_another_user')
    }
    expect(victim.picture()).toEqual(before)
  })

  it('leaves what a backup left out in its place, and brings the rest back', async () => {
    const room = openRoom()
    const live = join(room, 'live')
    const content = (name: string) => readFileSync(join(live, 'up', name), 'utf8')
    mkdirSync(join(live, 'up', 'cache'), { recursive: true })
    for (const name of ['a', 'cache/b']) writeFileSync(join(live, 'up', name), 'then')
    const config = join(room, 'config.yaml')
    const settings = [
      `state: ${join(room, 'state')}`,
      `repositories: { local: { path: ${join(room, 'repository')} } }`,
      `sources: { up: { kind: files, paths: [${join(live, 'up')}], exclude: [cache/*] } }`,
    ]
    writeFileSync(config, `${settings.join('\n')}\n`)
    expect(await run(['create', '--init', '--config', config])).toMatchObject({ code: 0 })
    for (const name of ['a', 'cache/b']) writeFileSync(join(live, 'up', name), 'now')
    giveToNobody(live)
    const restore = (...args: string[]) => run(['restore', 'up', ...args, '--confirm', 'up', '--config', config])
    expect(await restore('--in-place')).toMatchObject({ code: 0 })
    expect([content('a'), content('cache/b')]).toEqual(['then', 'now'])
    expect(lstatSync(join(live, 'up', 'cache', 'b'))).toMatchObject(nobody)
    expect(await restore('--rollback')).toMatchObject({ code: 0 })
    expect([content('a'), content('cache/b')]).toEqual(['now', 'now'])
    expect(readdirSync(live).filter(name => name.includes('private'))).toEqual([])
  })

  it('neither follows nor removes the record of a restore that somebody planted, and starts no unit', async () => {
    const at = await foreignPlace()
    const systemctl = fakeSystemctl(at.directory)
    const config = withService(at.directory, at)
    const file = join(at.live, '.app.db.nexus-restore.json')
    const victim = victimOf(at.room)
    const before = victim.picture()
    writeFileSync(file, JSON.stringify(plantedRecord(at.database)))
    giveToNobody(file)
    const text = readFileSync(file)
    const created = await run(['create', 'app', ...config], systemctl)
    expect(created).toMatchObject({ code: 0 })
    expect(created.stderr).toContain('is ignored')
    expect(systemctl.calls()).toEqual([])
    const restored = await run(['restore', 'app', '--in-place', '--confirm', 'app', '--json', ...config], systemctl)
    expect(restored.code).toBe(8)
    expect(JSON.parse(restored.stderr.trim().split('\n').at(-1) ?? '').error.code).toBe('restore_record_foreign')
    expect(readFileSync(file)).toEqual(text)
    expect(victim.picture()).toEqual(before)
  })

  it('starts no unit but the configured one on the word of a record of its own', async () => {
    const at = await foreignPlace()
    const systemctl = fakeSystemctl(at.directory)
    const config = withService(at.directory, at)
    const file = join(at.live, '.app.db.nexus-restore.json')
    for (const service of ['evil.service', 'app.service']) {
      writeFileSync(file, JSON.stringify({ ...plantedRecord(at.database), service }), { mode: 0o600 })
      const { code, stderr } = await run(['create', 'app', ...config], systemctl)
      expect(code, stderr).toBe(0)
    }
    expect(systemctl.calls()).toEqual(['start -- app.service'])
  })

  it('does not restore directories to where a link of that user leads', async () => {
    const room = openRoom()
    const victim = victimOf(room)
    const live = join(room, 'live')
    mkdirSync(join(live, 'up'), { recursive: true })
    writeFileSync(join(live, 'up', 'a'), 'a')
    const config = join(room, 'config.yaml')
    const settings = [
      `state: ${join(room, 'state')}`,
      `repositories: { local: { path: ${join(room, 'repository')} } }`,
      `sources: { up: { kind: files, paths: [${join(live, 'up')}] } }`,
    ]
    writeFileSync(config, `${settings.join('\n')}\n`)
    expect(await run(['create', '--init', '--config', config])).toMatchObject({ code: 0 })
    const before = victim.picture()
    renameSync(join(live, 'up'), join(live, 'aside'))
    symlinkSync(victim.directory, join(live, 'up'))
    giveToNobody(live)
    const restored = await run(['restore', 'up', '--in-place', '--confirm', 'up', '--json', '--config', config])
    expect(restored.code).toBe(8)
    expect(JSON.parse(restored.stderr).error.code).toBe('link_of_another_user')
    expect(victim.picture()).toEqual(before)
  })
})

function plantedRecord(target: string): object {
  return {
    format: 1,
    pid: 2 ** 22 + 1,
    started: '1',
    target,
    staged: `${target}.staged`,
    scratch: true,
    previous: `${target}.previous`,
    service: 'evil.service',
    swap: null,
  }
}
