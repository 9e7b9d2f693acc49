import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { expectListedSound } from './helpers/kills.js'
import { lockHeld } from './helpers/lock.js'
import { backupIds, leftoversIn, type Place, place } from './helpers/place.js'

async function withBackups(types: string[]): Promise<Place> {
  const at = place()
  await makeDatabase(at.database)
  for (const [index, type] of types.entries()) {
    if (index > 0) await changeDatabase(at.database, index)
    await at.ok('create', ['--init', '--type', type])
  }
  return at
}

describe('two runs at once', () => {
  it('of create: each is whole, and no two have the same parent or place in the order', async () => {
    const at = await withBackups(['full'])
    const runs = await Promise.all(
      Array.from({ length: 4 }, () => at.run('create', ['--wait', '60', '--type', 'incr'])),
    )
    expect(runs.map(({ code }) => code)).toEqual([0, 0, 0, 0])
    const manifests = backupIds(at).map(id => {
      return JSON.parse(readFileSync(join(at.repository, 'app', id, 'manifest.json'), 'utf8'))
    })
    expect(manifests.map(({ sequence }) => sequence).sort()).toEqual([1, 2, 3, 4, 5])
    expect(new Set(manifests.map(({ parent }) => parent)).size).toBe(5)
    await expectListedSound(at)
    expect(leftoversIn(at.repository)).toEqual([])
  })

  it('of create: who may not wait ends with 6 and is told who holds the lock', async () => {
    const at = await withBackups(['full'])
    const holder = await lockHeld(at.repository, 'writer', 'exclusive', 'create app')
    const { code, document, error } = await at.json('create')
    expect(code).toBe(6)
    expect(document.failures).toMatchObject([{ source: 'app', code: 'locked' }])
    expect(error.error).toMatchObject({ code: 'locked', exit_code: 6 })
    expect(error.error.message).toContain(`create app (user tester, process ${holder.child.pid}`)
    expect(error.error.hint).toContain('--wait')
    expect(backupIds(at)).toHaveLength(1)
    holder.child.kill('SIGKILL')
    await holder.done
    // The kernel has released it: no help is needed.
    await at.ok('create')
  })

  it('of create: who waits says for whom, and goes on when the other is done', async () => {
    const at = await withBackups(['full'])
    const holder = await lockHeld(at.repository, 'writer', 'exclusive', 'create app')
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
    const runs = await Promise.all([
      at.run('prune', ['app', '--keep-last', '1', '--wait', '60']),
      at.run('create', ['--wait', '60']),
      at.run('verify', ['--wait', '60']),
      at.run('create', ['--wait', '60', '--type', 'diff']),
      at.run('prune', ['app', '--keep-last', '2', '--wait', '60']),
    ])
    expect(runs.map(({ code, stderr }) => ({ code, stderr })).filter(({ code }) => code !== 0)).toEqual([])
    await expectListedSound(at)
    expect(leftoversIn(at.repository)).toEqual([])
  })

  it('of prune during a restore or verify: it waits, or ends with 6 and names who reads', async () => {
    const at = await withBackups(['full', 'full'])
    const reader = await lockHeld(at.repository, 'delete', 'shared', 'restore app')
    const { code, error } = await at.json('prune', ['app', '--keep-last', '1'])
    expect(code).toBe(6)
    expect(error.error.message).toContain(`restore app (user tester, process ${reader.child.pid}`)
    expect(backupIds(at)).toHaveLength(2)
    // A create and another restore need not wait for a reader.
    await at.ok('create')
    await at.ok('restore', ['app', '--to', join(at.directory, 'beside.db')])
    reader.child.kill('SIGKILL')
    await reader.done
    await at.ok('prune', ['app', '--keep-last', '1'])
  })

  it('of a restore during a prune: it waits, and says so when its backup is gone, never that it is damaged', async () => {
    const at = await withBackups(['full', 'full'])
    const [first = ''] = backupIds(at)
    const pruning = await lockHeld(at.repository, 'delete', 'exclusive', 'prune app')
    const target = join(at.directory, 'restored.db')
    expect((await at.json('restore', [first, '--to', target])).error.error.message).toContain('prune app')
    const verify = at.start('verify', [first, '--wait', '60'])
    const restore = at.start('restore', [first, '--to', target, '--wait', '60'])
    await Promise.all([verify, restore].map(running => waits(running)))
    // What the prune deletes while the two wait.
    rmSync(join(at.repository, 'app', first), { recursive: true })
    pruning.child.kill('SIGTERM')
    const restored = await restore.done
    expect({ code: restored.code, stderr: restored.stderr }).toMatchObject({ code: 5 })
    expect(restored.stderr).toContain('pruned')
    expect((await verify.done).code).not.toBe(4)
    expect(readdirSync(at.directory)).not.toContain('restored.db')
    await at.ok('restore', ['app', '--to', target])
    expect(stateOf(target)).toEqual(expectedState(1))
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
