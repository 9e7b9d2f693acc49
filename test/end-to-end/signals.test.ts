import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { crashAfterCommit, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { expectListedSound } from './helpers/kills.js'
import { backupIds, leftoversBeside, leftoversIn, type Place, place, setAside } from './helpers/place.js'
import type { Finished, Running } from './helpers/run.js'

const endings = [
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const

/** Enough that a signal sent at the first sign of work comes in the middle of it. */
const large = { rows: 120_000 }

/** Until something exists that only a run at work makes. */
async function appears(running: Running, is: () => boolean): Promise<void> {
  let ended = false
  running.done.then(() => {
    ended = true
  })
  while (!is()) {
    if (ended) throw new Error('it ended before it could be interrupted')
    await new Promise(resolve => setImmediate(resolve))
  }
}

async function withLarge(): Promise<Place> {
  const at = place()
  await makeDatabase(at.database, large)
  await at.ok('create', ['--init', '--check', 'none'])
  return at
}

describe.each(endings)('%s', (signal, status) => {
  it(`stops a create, which cleans up and ends with ${status}`, async () => {
    const at = await withLarge()
    const running = at.start('create', ['--type', 'full'])
    await appears(running, () => leftoversIn(at.repository).length > 0)
    running.child.kill(signal)
    const ended = await running.done
    const { stdout, stderr } = ended
    expect({ status: shellStatus(ended), stdout }).toEqual({ status, stdout: '' })
    expect(stderr).toContain(signal)
    expect(leftoversIn(at.repository)).toEqual([])
    expect(backupIds(at)).toHaveLength(1)
  })

  it(`stops an in-place restore, which replaces nothing, cleans up and ends with ${status}`, async () => {
    const at = await withLarge()
    await crashAfterCommit(at.database, 1)
    const running = at.start('restore', ['app', '--in-place', '--confirm', 'app'])
    await appears(running, () => leftoversBeside(at.database).length > 0)
    running.child.kill(signal)
    expect(shellStatus(await running.done)).toBe(status)
    expect(leftoversBeside(at.database)).toEqual([])
    expect(setAside(at.database)).toEqual([])
    expect(stateOf(at.database)).toEqual(expectedState(1, large.rows))
  })
})

/** What a shell calls the status: a run whose thread is deep in a check ends by the signal itself, any other exits. */
function shellStatus({ code, signal }: Finished): number | null {
  return signal === null ? code : 128 + constants.signals[signal]
}

describe('a second signal', () => {
  it('ends the process at once, and the next run cleans up', async () => {
    const at = await withLarge()
    const running = at.start('restore', ['app', '--to', join(at.directory, 'restored.db')])
    await appears(running, () => leftoversBeside(join(at.directory, 'restored.db')).some(name => name.startsWith('.')))
    running.child.kill('SIGTERM')
    running.child.kill('SIGINT')
    expect([130, 143]).toContain(shellStatus(await running.done))
    expect(existsSync(join(at.directory, 'restored.db'))).toBe(false)
    await at.ok('restore', ['app', '--to', join(at.directory, 'restored.db')])
    await expectListedSound(at)
    expect(leftoversBeside(join(at.directory, 'restored.db')).filter(name => name.startsWith('.'))).toEqual([])
  })
})
