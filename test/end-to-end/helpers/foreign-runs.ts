import { linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { expect } from 'vitest'
import { changeDatabase, makeDatabase } from './database.js'
import { giveToNobody, openRoom, victimOf, whileExchanging } from './exchanger.js'
import { place } from './place.js'
import { run } from './run.js'

/** What root may say of a directory in which somebody exchanges things: done, failed, not found, refused, or damage. */
export const honest = [0, 1, 3, 4, 5, 8]

/**
 * Restores a database in place, again and again, in a directory whose owner exchanges what is staged there.
 *
 * @param otherName gives its file a second name, so that it is overwritten instead of displaced
 */
export async function restoreDatabaseBeside(times: number, otherName = false): Promise<void> {
  const room = openRoom()
  const at = place(join(room, 'app'), { repository: join(room, 'repository') })
  const live = dirname(at.database)
  await makeDatabase(at.database)
  await at.ok('create', ['--init'])
  await changeDatabase(at.database, 1)
  if (otherName) linkSync(at.database, `${at.database}.link`)
  const kept = [basename(at.database), `${basename(at.database)}.link`]
  giveToNobody(live)
  const victim = victimOf(room)
  const before = victim.picture()
  await whileExchanging(victim, [live], kept, async () => {
    for (let time = 0; time < times; time += 1) {
      for (const what of [['--in-place'], ['--rollback']]) {
        const { code, stderr } = await at.run('restore', ['app', ...what, '--confirm', 'app', '--allow-other-names'])
        expect(honest, stderr).toContain(code)
      }
    }
  })
  expect(victim.picture()).toEqual(before)
}

/** Restores directories in place and beside, in directories whose owner exchanges what is staged there. */
export async function restoreFilesBeside(times: number): Promise<void> {
  const room = openRoom()
  const live = join(room, 'live')
  const uploads = join(live, 'up')
  mkdirSync(join(uploads, 'inner'), { recursive: true })
  for (let at = 0; at < 40; at += 1) writeFileSync(join(uploads, 'inner', `file-${at}`), `content ${at}`)
  symlinkSync('inner', join(uploads, 'link'))
  const config = join(room, 'config.yaml')
  const settings = [
    `state: ${join(room, 'state')}`,
    `repositories: { local: { path: ${join(room, 'repository')} } }`,
    `sources: { up: { kind: files, paths: [${uploads}] } }`,
  ]
  writeFileSync(config, `${settings.join('\n')}\n`)
  const command = (...args: string[]) => run([...args, '--config', config])
  expect(await command('create', '--init')).toMatchObject({ code: 0 })
  giveToNobody(live)
  const victim = victimOf(room)
  const before = victim.picture()
  await whileExchanging(victim, [live], ['up', 'inner', 'link'], async () => {
    for (let time = 0; time < times; time += 1) {
      const inPlace = await command('restore', 'up', '--in-place', '--confirm', 'up')
      expect(honest, inPlace.stderr).toContain(inPlace.code)
      const back = await command('restore', 'up', '--rollback', '--confirm', 'up')
      expect(honest, back.stderr).toContain(back.code)
      const beside = await command('restore', 'up', '--to', join(live, `to-${time}`))
      expect(honest, beside.stderr).toContain(beside.code)
    }
  })
  expect(victim.picture()).toEqual(before)
}

/** Backs up, verifies, drills and prunes with a repository and a state directory whose owner exchanges what is made there. */
export async function workInRepository(times: number): Promise<void> {
  const room = openRoom()
  const at = place(join(room, 'app'), { repository: join(room, 'repository') })
  await makeDatabase(at.database)
  mkdirSync(at.state)
  giveToNobody(at.state)
  await at.ok('create', ['--init'])
  giveToNobody(at.repository)
  const victim = victimOf(room)
  const before = victim.picture()
  const kept = ['nexus-backup.json', 'SHA256SUMS', 'RECOVER.txt', 'recover.mjs']
  await whileExchanging(victim, [at.repository, at.state], kept, async () => {
    for (let time = 0; time < times; time += 1) {
      for (const args of [['create'], ['verify', '--drill'], ['prune', '--keep-last', '1', '--yes'], ['list']]) {
        const [command = '', ...rest] = args
        const { code, stderr } = await at.run(command, [...rest, '--wait', '0'].slice(0, command === 'list' ? 0 : 9))
        expect([...honest, 6], stderr).toContain(code)
      }
    }
  })
  expect(victim.picture()).toEqual(before)
}
