import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { recordPath } from '../../src/sources/crash-record.js'
import { usersOf } from '../../src/sources/sqlite/users.js'
import { isSingleWriter, server } from '../helpers/repository-kind.js'
import { storeProxy } from '../helpers/store-proxy.js'
import { storedIn } from '../helpers/stored.js'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { expectListedSound } from './helpers/kills.js'
import { lockHeld } from './helpers/lock.js'
import { backupIds, leftoversIn, type Place, place, setAside } from './helpers/place.js'
import { type RunOptions, run, start } from './helpers/run.js'
import { fakeSystemctl, withService } from './helpers/systemctl.js'

/** On kinds of repositories beside the first, `npm test` runs what depends on them, and few rounds. */
const isShort = process.env.NEXUS_TEST_SHORT === '1'
/** A single writer differs in how writers exclude each other: what only waits for them is the same as in any bucket. */
const itOnOthers = it.skipIf(isShort && isSingleWriter)
const ROUNDS = isShort ? 2 : 4

async function withBackups(types: string[]): Promise<Place> {
  const at = place()
  await makeDatabase(at.database)
  for (const [index, type] of types.entries()) {
    if (index > 0) await changeDatabase(at.database, index)
    await at.ok('create', ['--init', '--type', type])
  }
  return at
}

/** Where one host alone writes, prune keeps what is younger than ten minutes: this is how to run it later. */
async function later(): Promise<RunOptions> {
  if (!isSingleWriter || server === undefined) return {}
  const proxy = await storeProxy(server)
  proxy.aged = 11 * 60_000
  return { env: { AWS_ENDPOINT_URL_S3: proxy.endpoint } }
}

describe('two runs at once', () => {
  it('of create: each is whole, and no two have the same parent or place in the order', async () => {
    const at = await withBackups(['full'])
    const runs = await Promise.all(
      Array.from({ length: 4 }, () => at.run('create', ['--wait', '60', '--type', 'incr'])),
    )
    expect(runs.map(({ code }) => code)).toEqual([0, 0, 0, 0])
    const manifests = backupIds(at).map(id => {
      return JSON.parse(storedIn(at.repository).read(`app/${id}/manifest.json`).toString())
    })
    expect(manifests.map(({ sequence }) => sequence).sort()).toEqual([1, 2, 3, 4, 5])
    expect(new Set(manifests.map(({ parent }) => parent)).size).toBe(5)
    await expectListedSound(at)
    expect(leftoversIn(at.repository)).toEqual([])
  })

  itOnOthers('of create: who may not wait ends with 6 and is told who holds the lock', async () => {
    const at = await withBackups(['full'])
    const holder = await lockHeld(at, 'writer', 'exclusive', 'create app')
    const { code, document, error } = await at.json('create')
    expect(code).toBe(6)
    expect(document.failures).toMatchObject([{ source: 'app', code: 'locked' }])
    expect(error.error).toMatchObject({ code: 'locked', exit_code: 6 })
    expect(error.error.message).toContain(`create app (user tester, process ${holder.child.pid}`)
    expect(error.error.hint).toContain('--wait')
    expect(backupIds(at)).toHaveLength(1)
    holder.child.kill('SIGKILL')
    await holder.done
    // The kernel has released it, or the process is known to be gone: no help is needed.
    await at.ok('create')
  })

  itOnOthers('of create: who waits says for whom, and goes on when the other is done', async () => {
    const at = await withBackups(['full'])
    const holder = await lockHeld(at, 'writer', 'exclusive', 'create app')
    const waiting = at.start('create', ['--wait', '60'])
    await waits(waiting)
    holder.child.kill('SIGTERM')
    const { code, stderr } = await waiting.done
    expect(code).toBe(0)
    expect(stderr).toContain(`process ${holder.child.pid}`)
    expect(backupIds(at)).toHaveLength(2)
  })

  it('of create and prune: both come to their end, and nothing listed is damaged', async () => {
    const at = await withBackups(['full', 'incr', 'full', 'incr', 'full'])
    const old = await later()
    const runs = await Promise.all([
      at.run('prune', ['app', '--keep-last', '1', '--wait', '60'], old),
      at.run('create', ['--wait', '60']),
      at.run('verify', ['--wait', '60']),
      at.run('create', ['--wait', '60', '--type', 'diff']),
      at.run('prune', ['app', '--keep-last', '2', '--wait', '60'], old),
    ])
    expect(runs.map(({ code, stderr }) => ({ code, stderr })).filter(({ code }) => code !== 0)).toEqual([])
    await expectListedSound(at)
    expect(leftoversIn(at.repository)).toEqual([])
  })

  itOnOthers(
    'of verify, list and create, again and again: nothing is called damaged or gone that is being made',
    async () => {
      const at = await withBackups(['full'])
      for (let round = 1; round <= ROUNDS; round += 1) {
        await changeDatabase(at.database, round)
        const runs = await Promise.all([
          at.run('verify', ['--wait', '60']),
          at.run('create', ['--wait', '60']),
          at.run('list', ['--all']),
        ])
        expect(runs.map(({ code, stderr }) => ({ code, stderr })).filter(({ code }) => code !== 0)).toEqual([])
      }
      expect(backupIds(at)).toHaveLength(1 + ROUNDS)
      expect((await at.run('verify', [])).code).toBe(0)
    },
  )

  itOnOthers('of prune during a restore or verify: it waits, or ends with 6 and names who reads', async () => {
    const at = await withBackups(['full', 'full'])
    const reader = await lockHeld(at, 'delete', 'shared', 'restore app')
    const old = await later()
    const { code, error } = await at.json('prune', ['app', '--keep-last', '1'], old)
    expect(code).toBe(6)
    expect(error.error.message).toContain(`restore app (user tester, process ${reader.child.pid}`)
    expect(backupIds(at)).toHaveLength(2)
    // A create and another restore need not wait for a reader.
    await at.ok('create')
    await at.ok('restore', ['app', '--to', join(at.directory, 'beside.db')])
    reader.child.kill('SIGKILL')
    await reader.done
    const [first] = backupIds(at)
    await at.ok('prune', ['app', '--keep-last', '1'], old)
    expect(backupIds(at)).not.toContain(first)
  })

  itOnOthers(
    'of a restore during a prune: it waits, and says so when its backup is gone, never that it is damaged',
    async () => {
      const at = await withBackups(['full', 'full'])
      const [first = ''] = backupIds(at)
      const pruning = await lockHeld(at, 'delete', 'exclusive', 'prune app')
      const target = join(at.directory, 'restored.db')
      expect((await at.json('restore', [first, '--to', target])).error.error.message).toContain('prune app')
      const verify = at.start('verify', [first, '--wait', '60'])
      const restore = at.start('restore', [first, '--to', target, '--wait', '60'])
      await Promise.all([verify, restore].map(running => waits(running)))
      // What the prune deletes while the two wait.
      storedIn(at.repository).remove(`app/${first}`)
      pruning.child.kill('SIGTERM')
      const restored = await restore.done
      expect({ code: restored.code, stderr: restored.stderr }).toMatchObject({ code: 5 })
      expect(restored.stderr).toContain('pruned')
      expect((await verify.done).code).not.toBe(4)
      expect(readdirSync(at.directory)).not.toContain('restored.db')
      await at.ok('restore', ['app', '--to', target])
      expect(stateOf(target)).toEqual(expectedState(1))
    },
  )
})

describe.skipIf(isShort)('a restore in place', () => {
  /** One that stands still in the middle, until it is released. */
  async function restoring(at: Place) {
    const systemctl = fakeSystemctl(at.directory)
    const flags = withService(at.directory, at)
    const release = systemctl.held()
    const options = { env: systemctl.env }
    const restore = start(['restore', 'app', '--in-place', '--confirm', 'app', ...flags], options)
    while (systemctl.calls().length === 0) await turn()
    return { restore, flags, options, release }
  }

  it('is waited for by create and by another restore, with --wait; without it they end with 6 and name it', async () => {
    const at = await withBackups(['full'])
    const { restore, flags, options, release } = await restoring(at)
    const named = `the restore by process ${restore.child.pid} (user`
    const refused = await run(['create', ...flags, '--json'], options)
    expect(refused.code).toBe(6)
    const { error } = JSON.parse(refused.stderr)
    expect(error).toMatchObject({ code: 'restore_running', hint: expect.stringContaining('--wait 600') })
    expect(error.message).toContain(named)
    const again = ['restore', 'app', '--in-place', '--confirm', 'app', ...flags]
    expect(await run(again, options)).toMatchObject({ code: 6, stderr: expect.stringContaining(named) })
    const inVain = await run(['create', ...flags, '--wait', '1'], options)
    expect(inVain).toMatchObject({ code: 6, stderr: expect.stringContaining('after waiting 1 seconds') })
    const waiting = [start(['create', ...flags, '--wait', '60'], options), start([...again, '--wait', '60'], options)]
    await Promise.all(waiting.map(running => waits(running)))
    release()
    const ended = await Promise.all([restore, ...waiting].map(({ done }) => done))
    expect(ended.map(({ code, stderr }) => (code === 0 ? 0 : stderr))).toEqual([0, 0, 0])
    expect(ended[1]?.stderr).toContain(`waiting for ${named}`)
    expect([setAside(at.database).length, backupIds(at).length]).toEqual([2, 2])
    expect(stateOf(at.database)).toEqual(expectedState(0))
  })

  it('waits for a create that reads the database, with --wait; without it ends with 6 and names it', async () => {
    const at = place()
    await makeDatabase(at.database, { rows: 60_000 })
    await at.ok('create', ['--init'])
    const create = at.start('create', ['--type', 'full'])
    while (!usersOf(at.database).processes.some(({ pid }) => pid === create.child.pid)) await turn()
    create.child.kill('SIGSTOP')
    const args = ['app', '--in-place', '--confirm', 'app']
    const { code, error } = await at.json('restore', args)
    expect({ code, ...error.error }).toMatchObject({ code: 'database_read', exit_code: 6 })
    expect(error.error.message).toContain(`(process ${create.child.pid}, user`)
    const restore = at.start('restore', [...args, '--wait', '60'])
    await waits(restore)
    create.child.kill('SIGCONT')
    expect([(await create.done).code, (await restore.done).code]).toEqual([0, 0])
    expect(setAside(at.database)).toHaveLength(1)
    expect(existsSync(recordPath(at.database))).toBe(false)
  })
})

/** Until a run has said that it waits for a lock. */
function waits(running: ReturnType<Place['start']>): Promise<void> {
  return new Promise(resolve => {
    let said = ''
    running.child.stderr?.on('data', text => {
      said += text
      if (said.includes('waiting for')) resolve()
    })
  })
}
