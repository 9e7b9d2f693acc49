import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openJournal } from '../../src/journal/journal.js'
import { list } from '../../src/operations/list.js'
import { prune } from '../../src/operations/prune.js'
import { compiled } from '../helpers/compiled.js'
import { testContext } from '../helpers/context.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { type Shelf, shelf } from './shelf.js'

/** A prune in a process of its own that is killed at its n-th deletion, in the midst of its run. */
const program = `
  import { openJournal } from './journal/journal.js'
  import { prune } from './operations/prune.js'
  const { path, state, killAt } = JSON.parse(process.argv[2])
  const operator = { user: 'root', sudo_user: null }
  const context = {
    now: () => new Date('2025-12-01T00:00:00Z'), host: 'db1', operator, signal: new AbortController().signal,
    warn() {}, journalFailed(error) { throw error }, toolVersion: '0', stateDirectory: state, timezone: 'UTC', env: process.env, lockWaitSeconds: 0,
    progress({ done }) { if (done === killAt) process.kill(process.pid, 'SIGKILL') },
  }
  const repository = { name: 'local', path }
  const request = { sources: [{ name: 'itsm', repository, keep: { last: 1 } }], dryRun: false }
  await prune(context, openJournal(state, context), request)
`

async function chains(one: Shelf): Promise<string[]> {
  const ids: string[] = []
  for (const day of [1, 3, 5]) {
    const full = await one.add(day)
    ids.push(full, await one.add(day + 1, { type: 'incr', parent: full }))
  }
  return ids
}

describe('a killed prune', () => {
  it('leaves every listed backup whole at whatever deletion it dies, and the next prune finishes it', async () => {
    const modules = compiled(['operations/prune.ts', 'journal/journal.ts'])
    writeFileSync(join(modules, 'program.mjs'), program)
    for (const killAt of [1, 2, 3, 4]) {
      const one = await shelf()
      const ids = await chains(one)
      const state = temporaryDirectory()
      const question = { repositories: [one.settings], source: undefined, all: true }
      const call = JSON.stringify({ path: one.settings.path, state, killAt })
      const child = spawn(process.execPath, [join(modules, 'program.mjs'), call], { stdio: 'inherit' })
      expect(await once(child, 'exit')).toEqual([null, 'SIGKILL'])

      const before = await list(testContext(), question)
      expect(before.problems).toEqual([])
      expect(before.backups.map(({ id }) => id)).toEqual([...ids.slice(0, 4 - killAt), ...ids.slice(4)])

      const journal = openJournal(state, { ...testContext(), now: () => new Date('2025-12-02T00:00:00Z') })
      const sources = [{ name: 'itsm', repository: one.settings, keep: { last: 1 } }]
      const result = await prune(testContext(), journal, { sources, dryRun: false })
      expect(result.delete.map(({ id }) => id)).toEqual(ids.slice(0, 4 - killAt).reverse())
      expect(journal.read().records.map(record => record.result)).toEqual(['interrupted', 'done'])
      journal.close()
      expect((await list(testContext(), question)).backups.map(({ id }) => id)).toEqual(ids.slice(4))
      expect(existsSync(one.path('itsm', '.prune-plan.json'))).toBe(false)
    }
  })
})
