import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { KeepPolicy } from '../../src/config/settings.js'
import type { Context } from '../../src/context.js'
import { NexusError } from '../../src/errors.js'
import { openJournal } from '../../src/journal/journal.js'
import type { Journal } from '../../src/journal/types.js'
import { list } from '../../src/operations/list.js'
import { lockOptions } from '../../src/operations/locked.js'
import { prune } from '../../src/operations/prune.js'
import type { PruneResult } from '../../src/operations/results.js'
import { testContext } from '../helpers/context.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { passed, type Shelf, shelf } from './shelf.js'

function journalAt(state: string): Journal {
  const now = () => new Date('2025-12-01T00:00:00Z')
  const journal = openJournal(state, { now, host: 'db1', operator: { user: 'root', sudo_user: null } })
  onTestFinished(() => journal.close())
  return journal
}

interface Wishes extends Partial<Context> {
  sources?: string[]
  dryRun?: boolean
  journal?: Journal
}

function run(
  one: Shelf,
  keep: KeepPolicy,
  { sources = ['itsm'], dryRun = false, journal, ...context }: Wishes = {},
): Promise<PruneResult> {
  const request = { sources: sources.map(name => ({ name, repository: one.settings, keep })), dryRun }
  return prune(testContext(context), journal ?? journalAt(temporaryDirectory()), request)
}

/** Ids of the backups that list shows and of the damage it names. */
async function present(one: Shelf): Promise<string[]> {
  const { backups, problems } = await list(testContext(), {
    repositories: [one.settings],
    source: undefined,
    all: true,
  })
  return [...backups, ...problems].map(({ id }) => id)
}

async function month(one: Shelf, wishes: Parameters<Shelf['add']>[1] = {}): Promise<string[]> {
  const ids: string[] = []
  for (let day = 1; day <= 6; day++) ids.push(await one.add(day, wishes))
  return ids
}

describe('prune', () => {
  it('deletes what no rule keeps, with reasons, and says how much it freed', async () => {
    const one = await shelf()
    const [first = '', ...rest] = await month(one)
    const result = await run(one, { last: 5 })
    expect(result).toMatchObject({ command: 'prune', dry_run: false, problems: [], failures: [] })
    expect(result.delete).toMatchObject([{ id: first, source: 'itsm', reasons: ['last: not among the newest 5'] }])
    expect(result.keep.map(({ id, source }) => [id, source])).toEqual(rest.map(id => [id, 'itsm']))
    expect(result.keep[0]?.reasons).toEqual(['last 5'])
    expect(result.bytes_freed).toBeGreaterThan(1000)
    expect(await present(one)).toEqual(rest)
    expect(readdirSync(one.path('itsm')).filter(name => name.startsWith('.p'))).toEqual([])
  })

  it('deletes nothing the second time', async () => {
    const one = await shelf()
    await month(one)
    await run(one, { last: 2 })
    const before = await present(one)
    expect(await run(one, { last: 2 })).toMatchObject({ delete: [], wal: [], bytes_freed: 0 })
    expect(await present(one)).toEqual(before)
  })

  it('only plans in a dry run: the same plan, no lock, no journal, nothing touched', async () => {
    const one = await shelf()
    const ids = await month(one)
    const state = join(temporaryDirectory(), 'state')
    const lock = await one.room('itsm').lock('writer', 'exclusive', lockOptions(testContext(), 'create itsm'))
    const files = () => readdirSync(one.path('itsm'), { recursive: true }).sort()
    const before = files()
    const planned = await run(one, { last: 2 }, { dryRun: true, journal: journalAt(state) })
    expect(files()).toEqual(before)
    await lock.release()
    expect(planned).toMatchObject({ dry_run: true, bytes_freed: 0 })
    expect(planned.delete.map(({ id }) => id)).toEqual(ids.slice(0, 4).reverse())
    expect(existsSync(state)).toBe(false)
    expect(await run(one, { last: 2 })).toMatchObject({ keep: planned.keep, delete: planned.delete })
  })

  it('keeps chains whole and never the last proven backup is deleted', async () => {
    const one = await shelf()
    const proven = await one.add(1, { checks: passed })
    const full = await one.add(2)
    const incr = await one.add(3, { type: 'incr', parent: full })
    const gone = await one.add(4, { type: 'incr', parent: incr })
    const diff = await one.add(5, { type: 'diff', parent: full })
    const result = await run(one, { last: 1 })
    expect(result.keep).toMatchObject([
      { id: proven, source: 'itsm', reasons: ['last proven'] },
      { id: full, source: 'itsm', reasons: [`needed by ${diff}`] },
      { id: diff, source: 'itsm', reasons: ['last 1'] },
    ])
    expect(result.delete.map(({ id }) => id)).toEqual([gone, incr])
  })

  it('takes a proof of a verify into account', async () => {
    const one = await shelf()
    const [, second = '', third = '', , , last = ''] = await month(one)
    const proof = { level: 'content' as const, findings: [] }
    // Nobody looked into it at create: only a drill tells that its content is sound.
    const drilled = { ...proof, level: 'drill' as const }
    await one.room('itsm').addProof({ id: second, at: '2025-11-20T00:00:00.000Z', status: 'ok', ...drilled })
    await one.room('itsm').addProof({ id: third, at: '2025-11-20T00:00:00.000Z', status: 'ok', ...proof })
    await one.room('itsm').addProof({ id: third, at: '2025-11-21T00:00:00.000Z', status: 'damaged', ...proof })
    const result = await run(one, { last: 1 })
    expect(result.keep.map(({ id }) => id)).toEqual([second, third, last])
    expect(result.problems.map(({ id }) => id)).toEqual([third])
  })

  it('leaves damage alone, reports it, and clears what killed runs left', async () => {
    const one = await shelf()
    const [first = '', second = '', ...rest] = await month(one)
    one.rob(second)
    mkdirSync(one.path('itsm', '.partial-20251102T030000.000Z-full-0000'))
    const result = await run(one, { last: 1 })
    expect(result.problems).toMatchObject([{ id: second, source: 'itsm', status: 'damaged' }])
    expect(result.delete.map(({ id }) => id)).toEqual([...rest.slice(0, -1).reverse(), first])
    expect(readdirSync(one.path('itsm', second))).not.toEqual([])
    expect(await present(one)).toEqual([rest.at(-1), second])
  })

  it.each([
    'ok',
    'damaged',
    'source-damaged',
  ] as const)('deletes nothing on account of a proof that cannot be read and said %s', async status => {
    const one = await shelf()
    const ids = await month(one)
    const proof = { at: '2025-11-20T00:00:00.000Z', level: 'drill' as const, findings: [] }
    for (const id of ids.slice(-2)) await one.room('itsm').addProof({ ...proof, id, status })
    const wise = await run(one, { last: 1 }, { dryRun: true })
    for (const id of ids.slice(-2)) {
      const name = one.path('itsm', 'proofs', `${id}-20251120T000000.000Z.json`)
      const whole = readFileSync(name)
      writeFileSync(name, '{')
      const blind = await run(one, { last: 1 }, { dryRun: true })
      const kept = new Set(blind.keep.map(decision => decision.id))
      for (const decision of wise.keep) expect(kept).toContain(decision.id)
      writeFileSync(name, whole)
    }
  })

  it('goes on beside a proof that cannot be read, and leaves the proofs of what it deletes to nobody', async () => {
    const one = await shelf()
    const ids = await month(one)
    const proof = { at: '2025-11-20T00:00:00.000Z', status: 'ok' as const, level: 'content' as const, findings: [] }
    for (const id of ids) await one.room('itsm').addProof({ ...proof, id })
    writeFileSync(one.path('itsm', 'proofs', `${ids[1]}-20251120T000000.000Z.json`), '{')
    const { keep } = await run(one, { last: 1 })
    expect(keep.map(({ id }) => id)).toEqual([ids[1], ids.at(-1)])
    const left = readdirSync(one.path('itsm', 'proofs'))
    expect(left.map(name => name.slice(0, ids[0]?.length))).toEqual([ids[1], ids.at(-1)])
  })

  it('refuses an empty policy before anything of any source is deleted', async () => {
    const one = await shelf()
    const ids = await month(one)
    const request = {
      sources: [
        { name: 'itsm', repository: one.settings, keep: { last: 1 } },
        { name: 'web', repository: one.settings, keep: {} },
      ],
      dryRun: false,
    }
    await expect(prune(testContext(), journalAt(temporaryDirectory()), request)).rejects.toMatchObject({
      kind: 'refused',
      code: 'empty_policy',
      message: expect.stringContaining('web'),
      hint: expect.stringContaining('nexus-backup prune web --keep-daily'),
    })
    expect(await present(one)).toEqual(ids)
  })

  it('has nothing to do for a source without backups, but mentions a name that looks mistyped', async () => {
    const one = await shelf()
    const ids = await month(one)
    const warnings: string[] = []
    const result = await run(one, { last: 1 }, { sources: ['itms', 'consulting'], warn: line => warnings.push(line) })
    expect(result).toEqual({
      command: 'prune',
      dry_run: false,
      keep: [],
      delete: [],
      wal: [],
      bytes_freed: 0,
      untrusted: [],
      problems: [],
      failures: [],
    })
    expect(warnings).toEqual([`${one.settings.path} holds no backups of itms; did you mean itsm?`])
    expect(await present(one)).toEqual(ids)
  })

  it('is not found where there is no repository', async () => {
    const one = await shelf()
    rmSync(one.settings.path, { recursive: true })
    await expect(run(one, { last: 1 })).rejects.toMatchObject({ kind: 'not-found', code: 'repository_missing' })
  })
})

describe('prune beside other runs', () => {
  it('names who holds the lock, and deletes nothing', async () => {
    for (const [name, mode] of [
      ['writer', 'exclusive'],
      ['delete', 'shared'],
    ] as const) {
      const one = await shelf()
      const ids = await month(one)
      const lock = await one.room('itsm').lock(name, mode, lockOptions(testContext(), 'restore itsm'))
      await expect(run(one, { last: 1 })).rejects.toMatchObject({
        kind: 'locked',
        message: expect.stringContaining('restore itsm'),
      })
      expect(await present(one)).toEqual(ids)
      await lock.release()
      expect((await run(one, { last: 1 })).delete).toHaveLength(5)
    }
  })

  it('needs no delete lock when there is nothing to delete', async () => {
    const one = await shelf()
    await month(one)
    const lock = await one.room('itsm').lock('delete', 'shared', lockOptions(testContext(), 'restore itsm'))
    expect((await run(one, { last: 9 })).keep).toHaveLength(6)
    await lock.release()
  })

  it('prunes the other sources when one cannot be, and says so', async () => {
    const one = await shelf()
    await month(one)
    await month(one, { source: 'web' })
    const lock = await one.room('itsm').lock('writer', 'exclusive', lockOptions(testContext(), 'create itsm'))
    const journal = journalAt(temporaryDirectory())
    const result = await run(one, { last: 1 }, { sources: ['itsm', 'web'], journal })
    await lock.release()
    expect(result.failures).toMatchObject([{ source: 'itsm', kind: 'locked' }])
    expect(result.delete.map(({ source }) => source)).toEqual(['web', 'web', 'web', 'web', 'web'])
    expect(journal.read().records.map(({ source, result }) => [source, result])).toEqual([
      ['itsm', 'locked'],
      ['web', 'done'],
    ])
  })
})

describe('prune and the journal', () => {
  it('records each source, also damage that it saw', async () => {
    const one = await shelf()
    const [first = ''] = await month(one)
    one.rob(first)
    const journal = journalAt(temporaryDirectory())
    await run(one, { last: 1 }, { journal })
    expect(journal.read().records).toMatchObject([
      { operation: 'prune', source: 'itsm', repository: one.settings.path, result: 'damage' },
    ])
  })

  it('goes on without a journal that cannot be written, and reports it', async () => {
    const one = await shelf()
    const [last] = (await month(one)).slice(-1)
    const state = temporaryDirectory()
    writeFileSync(join(state, 'catalog.db'), 'not a database, by no means, for it is a text')
    const failures: unknown[] = []
    await run(one, { last: 1 }, { journal: journalAt(state), journalFailed: error => failures.push(error) })
    expect(failures).toMatchObject([{ code: 'journal_damaged' }])
    expect(await present(one)).toEqual([last])
  })
})

describe('an interrupted prune', () => {
  const stop = new NexusError('interrupted', 'interrupted_sigterm', 'stopped by SIGTERM')

  /** Stops like a signal does, after the n-th deletion. */
  function stopping(n: number): Partial<Context> {
    const controller = new AbortController()
    return { signal: controller.signal, progress: ({ done }) => done === n && controller.abort(stop) }
  }

  it('leaves its plan, no orphan, and the rest to the next', async () => {
    const one = await shelf()
    const full = await one.add(1)
    const incr = await one.add(2, { type: 'incr', parent: full })
    await one.add(3, { type: 'incr', parent: incr })
    const last = await one.add(4)
    const journal = journalAt(temporaryDirectory())
    await expect(run(one, { last: 1 }, { ...stopping(1), journal })).rejects.toBe(stop)
    expect(journal.read().records[0]?.result).toBe('interrupted')
    expect(await present(one)).toEqual([full, incr, last])
    const plan = JSON.parse(readFileSync(one.path('itsm', '.prune-plan.json'), 'utf8'))
    expect(plan).toMatchObject({ format: 1, host: 'db1', begun_at: '2025-12-01T00:00:00.000Z' })
    expect(plan.delete).toHaveLength(3)
    const warnings: string[] = []
    const result = await run(one, { last: 1 }, { warn: line => warnings.push(line) })
    expect(result.delete.map(({ id }) => id)).toEqual([incr, full])
    expect(warnings).toEqual(['finishing the prune of itsm that was interrupted (begun 2025-12-01T00:00:00.000Z)'])
    expect(existsSync(one.path('itsm', '.prune-plan.json'))).toBe(false)
  })

  it('does not delete what the present policy keeps, and says what it spares', async () => {
    const one = await shelf()
    const ids = await month(one)
    await expect(run(one, { last: 1 }, stopping(2))).rejects.toBe(stop)
    const warnings: string[] = []
    expect((await run(one, { last: 3 }, { warn: line => warnings.push(line) })).delete.map(({ id }) => id)).toEqual([
      ids[0],
    ])
    expect(warnings).toEqual([expect.stringContaining(`keeps what it was to delete: ${ids[1]}, ${ids[2]}`)])
    expect(await present(one)).toEqual([ids[1], ids[2], ids[5]])
  })

  it('does not stumble over a plan that cannot be read', async () => {
    for (const torn of ['', '{"format":1,"del', '{"format":2}', '[]']) {
      const one = await shelf()
      const ids = await month(one)
      writeFileSync(one.path('itsm', '.prune-plan.json'), torn)
      expect((await run(one, { last: 1 })).delete).toHaveLength(5)
      expect(await present(one)).toEqual([ids[5]])
      expect(readdirSync(one.path('itsm'))).not.toContain('.prune-plan.json')
    }
  })

  it('reports how far it came when a deletion fails, and goes on next time', async () => {
    const one = await shelf()
    const ids = await month(one)
    // A link in the way: the repository never follows one.
    const blockAfterFirst = ({ done }: { done: number }) => {
      if (done !== 1) return
      renameSync(one.path('itsm'), one.path('elsewhere'))
      symlinkSync(one.path('elsewhere'), one.path('itsm'))
    }
    const result = await run(one, { last: 1 }, { progress: blockAfterFirst })
    expect(result.delete.map(({ id }) => id)).toEqual([ids[4]])
    const message = expect.stringContaining(`stopped at ${ids[3]} after 1 of 5 deletions`)
    expect(result.failures).toMatchObject([{ source: 'itsm', kind: 'damage', message }])
    rmSync(one.path('itsm'))
    renameSync(one.path('elsewhere'), one.path('itsm'))
    expect((await run(one, { last: 1 })).delete.map(({ id }) => id)).toEqual(ids.slice(0, 4).reverse())
  })
})
