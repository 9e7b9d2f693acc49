import { existsSync, statSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { expectedState, stateOf } from './helpers/database.js'
import {
  afterRename,
  beforeJournal,
  beforeRename,
  expectLive,
  inPlace,
  lateOpener,
  type Mode,
  ordinaryUser,
  type Pause,
  pausedRun,
  restoreUnderLateOpeners,
  withBackup,
} from './helpers/late.js'
import { leftoversBeside, setAside } from './helpers/place.js'
import { binary, startProcess } from './helpers/run.js'

const isRoot = process.getuid?.() === 0

describe.skipIf(!isRoot)(
  'an in-place restore by root, and a program that opens the database just before the rename',
  () => {
    it.each<Mode>(['wal', 'delete'])('takes the rename back (journal_mode %s)', async mode => {
      const at = await withBackup(mode)
      const { running, goOn } = await pausedRun(at, ['restore', ...inPlace], [beforeRename])
      const late = await lateOpener(at)
      goOn()
      const { code, stderr } = await running.done
      expect(code).toBe(8)
      expect(stderr).toContain(`pid ${late.pid}`)
      expect(setAside(at.database)).toEqual([])
      expect(leftoversBeside(at.database)).toEqual([])
      expectLive(at, 2, await late.work())
      await at.ok('restore', inPlace)
      expectLive(at, 1, 0)
    })

    it('takes a rollback back as well, and what was set aside stays', async () => {
      const at = await withBackup('wal')
      await at.ok('restore', inPlace)
      const rollback = ['restore', 'app', '--rollback', '--confirm', 'app']
      const { running, goOn } = await pausedRun(at, rollback, [beforeRename])
      const late = await lateOpener(at)
      goOn()
      expect(await running.done).toMatchObject({ code: 8 })
      expectLive(at, 1, await late.work())
      expect(setAside(at.database).map(stateOf)).toEqual([expectedState(2)])
      await at.ok('restore', rollback.slice(1))
      expectLive(at, 2, 0)
    })

    it('is killed while it takes the rename back: the next run goes on with that', async () => {
      const at = await withBackup('wal')
      // The restored database gets its scratch name back.
      const undoing: Pause = { call: 'linkSync', argument: 1, path: '.nexus-restore-', when: 'after' }
      const { running, stopped, goOn } = await pausedRun(at, ['restore', ...inPlace], [beforeRename, undoing])
      const late = await lateOpener(at)
      goOn()
      await stopped(1)
      running.child.kill('SIGKILL')
      await running.done
      await at.ok('create')
      expectLive(at, 2, await late.work())
      expect(setAside(at.database)).toEqual([])
    })

    it('names a program that opened the new database before the rename was taken back', async () => {
      const at = await withBackup('wal')
      const { running, stopped, goOn } = await pausedRun(at, ['restore', ...inPlace], [beforeRename, afterRename])
      const late = await lateOpener(at)
      goOn()
      await stopped(1)
      const misled = await lateOpener(at)
      goOn()
      const { code, stderr } = await running.done
      expect(code).toBe(8)
      expect(stderr).toContain(`pid ${late.pid}`)
      expect(stderr).toContain(`pid ${misled.pid}`)
      expect(await misled.work()).toBe(0)
      expectLive(at, 2, await late.work())
    })
  },
)

describe.skipIf(!isRoot)('a program that opens the database just after the rename', () => {
  it('has the new one, and the restore is done', async () => {
    const at = await withBackup('wal')
    const { running, goOn } = await pausedRun(at, ['restore', ...inPlace], [afterRename])
    const late = await lateOpener(at)
    goOn()
    expect(await running.done).toMatchObject({ code: 0 })
    expectLive(at, 1, await late.work())
  })
})

// A few rounds; test/soak/late-opener.test.ts takes hundreds.
describe.skipIf(!isRoot)('late openers in a loop', () => {
  it('of restores by root never cost a commit', () => restoreUnderLateOpeners(2))
  it('of restores by an ordinary user never cost a commit', () => restoreUnderLateOpeners(2, ordinaryUser()))
})

describe.skipIf(!isRoot)('an in-place restore by a user who cannot see everybody', () => {
  it.each<Mode>(['wal', 'delete'])('loses no commit of a program that it did not see (journal_mode %s)', async mode => {
    const user = ordinaryUser()
    const at = await withBackup(mode, user)
    const { running, goOn } = await pausedRun(at, ['restore', ...inPlace], [beforeJournal], user)
    const late = await lateOpener(at)
    goOn()
    const { code, stderr } = await running.done
    expect({ code, stderr }).toMatchObject({ code: 0 })
    const [aside = ''] = setAside(at.database)
    expect(stateOf(aside)).toEqual(expectedState(2))
    // The service is up again before the late one begins to work: both work on the same file.
    const early = await lateOpener(at, user)
    expect(await early.work()).toBe(300)
    expectLive(at, 1, 300)
    expectLive(at, 1, 300 + (await late.work()))
    await at.ok('restore', ['app', '--rollback', '--confirm', 'app'], user)
    expectLive(at, 2, 0)
  })

  const commit: Pause = { call: 'unlinkSync', argument: 0, path: '/live/app.db-journal', when: 'before' }
  const moments: [string, Pause][] = [
    ['with half a journal', { ...beforeJournal, when: 'after' }],
    ['before the last step of the change', { call: 'ftruncateSync', argument: 0, path: '', when: 'before' }],
    ['before the commit', commit],
    ['after the commit', { ...commit, when: 'after' }],
  ]

  it('takes root in a container for such a user', async () => {
    const at = await withBackup('wal')
    const { ino } = statSync(at.database)
    const words = [process.execPath, binary, 'restore', ...inPlace, ...at.flags]
    const { done } = startProcess('unshare', ['--pid', '--fork', '--mount-proc', ...words])
    expect(await done).toMatchObject({ code: 0 })
    expectLive(at, 1, 0)
    // Its file was not displaced.
    expect(statSync(at.database).ino).toBe(ino)
    expect(setAside(at.database).map(stateOf)).toEqual([expectedState(2)])
  })

  it.each(moments)('is killed %s: wholly old or wholly new, and the next run cleans up', async (_, pause) => {
    const user = ordinaryUser()
    const at = await withBackup('wal', user)
    const { running } = await pausedRun(at, ['restore', ...inPlace], [pause], user)
    running.child.kill('SIGKILL')
    await running.done
    const found = stateOf(at.database)
    expect(found).toEqual(expectedState(pause.call === 'unlinkSync' && pause.when === 'after' ? 1 : 2))
    await at.ok('create', [], user)
    expect(stateOf(at.database)).toEqual(found)
    expect(leftoversBeside(at.database)).toEqual([])
    expect(setAside(at.database).map(stateOf)).toEqual(found.generation === 1 ? [expectedState(2)] : [])
    expect(existsSync(`${at.database}-journal`)).toBe(false)
  })
})
