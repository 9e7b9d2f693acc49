import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noJournal } from '../../src/cli/journal.js'
import type { RepositorySettings } from '../../src/config/settings.js'
import { copy } from '../../src/operations/copy.js'
import { prune } from '../../src/operations/prune.js'
import { restore } from '../../src/operations/restore.js'
import { verify } from '../../src/operations/verify.js'
import { initRepository, openRepository } from '../../src/repository/open.js'
import { testContext } from '../helpers/context.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { application } from './application.js'
import { shelf } from './shelf.js'
import { range, walShelf } from './wal-shelf.js'

function elsewhere(): RepositorySettings {
  return { name: 'offsite', path: join(temporaryDirectory(), 'offsite') }
}

interface Wishes {
  source?: string
  init?: boolean
  dryRun?: boolean
  warnings?: string[]
}

function run(from: RepositorySettings, to: RepositorySettings, wishes: Wishes = {}) {
  const { source = 'itsm', init = true, dryRun = false, warnings = [] } = wishes
  const context = testContext({ warn: message => void warnings.push(message) })
  return copy(context, noJournal, { tasks: [{ source, from, to }], init, dryRun })
}

async function idsIn(place: RepositorySettings, source = 'itsm'): Promise<string[]> {
  return (await (await openRepository(place)).source(source).entries()).map(({ id }) => id)
}

/** Every file below a directory with its bytes. */
function contents(directory: string): Map<string, string> {
  const names = readdirSync(directory, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  return new Map(
    names.map(entry => {
      const path = join(entry.parentPath, entry.name)
      return [path.slice(directory.length + 1), readFileSync(path).toString('hex')]
    }),
  )
}

describe('copy', () => {
  it('brings over every backup byte for byte, and only what is missing the next time', async () => {
    const one = await shelf()
    const to = elsewhere()
    const first = await one.add(1)
    const second = await one.add(2, { type: 'incr', parent: first })
    const { copies, failures } = await run(one.settings, to)
    expect(failures).toEqual([])
    expect(copies[0]?.backups).toEqual([first, second])
    for (const id of [first, second]) {
      expect(contents(join(to.path, 'itsm', id))).toEqual(contents(one.path('itsm', id)))
    }
    expect((await run(one.settings, to)).copies[0]).toMatchObject({ backups: [], bytes: 0 })
    const third = await one.add(3)
    expect((await run(one.settings, to)).copies[0]?.backups).toEqual([third])
  })

  it('removes nothing there because it is gone here', async () => {
    const one = await shelf()
    const to = elsewhere()
    const [first, second] = [await one.add(1), await one.add(2)]
    await run(one.settings, to)
    await one.room('itsm').remove(first)
    await one.add(3)
    await run(one.settings, to)
    expect(await idsIn(to)).toEqual(expect.arrayContaining([first, second]))
  })

  it('does not bring back what the retention there has retired', async () => {
    const one = await shelf()
    const to = elsewhere()
    for (let day = 1; day <= 4; day++) await one.add(day)
    await run(one.settings, to)
    const keep = { last: 1 }
    await prune(testContext(), noJournal, { sources: [{ name: 'itsm', repository: to, keep }], dryRun: false })
    const left = await idsIn(to)
    expect(left.length).toBeLessThan(4)
    expect((await run(one.settings, to)).copies[0]?.backups).toEqual([])
    expect(await idsIn(to)).toEqual(left)
  })

  it('makes no repository without being told to', async () => {
    const one = await shelf()
    const to = elsewhere()
    await one.add(1)
    const { failures } = await run(one.settings, to, { init: false })
    expect(failures).toMatchObject([{ source: 'itsm', code: 'repository_missing', to: to.path }])
    expect(failures[0]?.hint).toContain(`nexus-backup copy itsm --to ${to.path} --init`)
    expect(existsSync(to.path)).toBe(false)
  })

  it('plans without writing', async () => {
    const one = await shelf()
    const to = elsewhere()
    const id = await one.add(1)
    const { copies, dry_run } = await run(one.settings, to, { dryRun: true })
    expect(dry_run).toBe(true)
    expect(copies[0]).toMatchObject({ backups: [id], wal: 0, bytes: 64 })
    expect(existsSync(to.path)).toBe(false)
  })

  it('copies nothing that differs from its digests, keeps nothing half, and goes on once it is whole', async () => {
    const one = await shelf()
    const to = elsewhere()
    const id = await one.add(1)
    const part = one.path('itsm', id, 'itsm.db.zst')
    const whole = readFileSync(part)
    writeFileSync(part, Buffer.concat([whole.subarray(0, 5), Buffer.from('x'), whole.subarray(6)]))
    const { failures } = await run(one.settings, to)
    expect(failures).toMatchObject([{ kind: 'damage', code: 'backup_damaged' }])
    expect(failures[0]?.message).toContain('itsm.db.zst differs from its SHA-256')
    expect(await idsIn(to)).toEqual([])
    writeFileSync(part, whole)
    expect((await run(one.settings, to)).copies[0]?.backups).toEqual([id])
  })

  it('leaves out what cannot be restored, says so, and copies the others', async () => {
    const one = await shelf()
    const [first, second] = [await one.add(1), await one.add(2)]
    const child = await one.add(3, { type: 'incr', parent: second })
    one.rob(second)
    const to = elsewhere()
    const { copies } = await run(one.settings, to)
    expect(copies[0]?.backups).toEqual([first])
    expect(copies[0]?.problems).toMatchObject([{ id: child, status: 'damaged' }])
  })

  it('refuses to put backups of a repository that began anew behind older ones', async () => {
    const old = await shelf()
    const to = elsewhere()
    for (let day = 1; day <= 3; day++) await old.add(day)
    await run(old.settings, to)
    const anew = await shelf()
    await anew.add(9)
    const { failures } = await run(anew.settings, to)
    expect(failures).toMatchObject([{ kind: 'refused', code: 'copy_diverged' }])
    expect(failures[0]?.hint).toContain('nothing is lost')
    expect(await idsIn(to)).toHaveLength(3)
  })

  it('brings the history back into an empty repository, where it then goes on', async () => {
    const old = await shelf()
    const offsite = elsewhere()
    const ids = [await old.add(1), await old.add(2)]
    await run(old.settings, offsite)
    const local = { name: 'local', path: join(temporaryDirectory(), 'local') }
    await run(offsite, local)
    expect(await idsIn(local)).toEqual(ids)
    expect((await run(local, offsite)).failures).toEqual([])
  })

  it('refuses to copy a repository into itself, under whatever name', async () => {
    const one = await shelf()
    await one.add(1)
    const { failures } = await run(one.settings, { name: 'other', path: one.settings.path })
    expect(failures).toMatchObject([{ kind: 'refused', code: 'same_repository' }])
  })

  it('refuses another machine’s source of the same name', async () => {
    const at = new Date('2025-11-01T00:00:00Z')
    const claim = { kind: 'sqlite' as const, path: '/opt/itsm.db', system_identifier: null }
    const [one, two] = [await shelf(), await shelf()]
    const to = elsewhere()
    await one.room('itsm').enter({ ...claim, host: 'db1' }, { adopt: false, now: at })
    await two.room('itsm').enter({ ...claim, host: 'db2' }, { adopt: false, now: at })
    await one.add(1)
    await two.add(2)
    await two.add(3)
    await run(one.settings, to)
    expect((await run(two.settings, to)).failures).toMatchObject([{ kind: 'refused', code: 'source_claimed' }])
  })

  it('follows a source that was adopted', async () => {
    const at = new Date('2025-11-01T00:00:00Z')
    const claim = { kind: 'sqlite' as const, path: '/opt/itsm.db', system_identifier: null }
    const one = await shelf()
    const to = elsewhere()
    await one.room('itsm').enter({ ...claim, host: 'db1' }, { adopt: false, now: at })
    await one.add(1)
    await run(one.settings, to)
    await one.room('itsm').enter({ ...claim, host: 'db2' }, { adopt: true, now: at })
    const id = await one.add(2)
    expect((await run(one.settings, to)).copies[0]?.backups).toEqual([id])
    expect(await (await openRepository(to)).source('itsm').claim()).toMatchObject({ host: 'db2' })
  })

  it('says which sources there are when there is none of that name', async () => {
    const one = await shelf()
    await one.add(1)
    const { failures } = await run(one.settings, elsewhere(), { source: 'itms' })
    expect(failures).toMatchObject([{ kind: 'not-found', code: 'source_not_found', hint: 'there are: itsm' }])
  })
})

describe('copy of a cluster', () => {
  it('takes the log from the oldest base on, with histories, and what is new the next time', async () => {
    const one = await walShelf()
    const to = elsewhere()
    await one.segments(range(1, 3))
    await one.base(1, 4)
    await one.segments(range(4, 8))
    const first = await run(one.settings, to, { source: 'db' })
    expect(first.failures).toEqual([])
    expect(first.copies[0]?.wal).toBe(5)
    await one.segments(range(9, 10))
    expect((await run(one.settings, to, { source: 'db' })).copies[0]?.wal).toBe(2)
    const target = (await openRepository(to)).source('db')
    const [system = ''] = await target.walSystems()
    for (const name of await target.wal(system).names()) {
      expect(await target.wal(system).storedFile(name)).toEqual(await one.archive().storedFile(name))
    }
  })

  it('fills a gap that an interrupted copy or an intruder left', async () => {
    const one = await walShelf()
    const to = elsewhere()
    await one.base(1, 1)
    await one.segments(range(1, 5))
    await run(one.settings, to, { source: 'db' })
    const target = (await openRepository(to)).source('db')
    const [system = ''] = await target.walSystems()
    const names = await target.wal(system).names()
    await target.wal(system).remove(names.slice(1, 3))
    expect((await run(one.settings, to, { source: 'db' })).copies[0]?.wal).toBe(2)
    expect(await target.wal(system).names()).toEqual(names)
  })

  it('stops at a damaged segment, names it, and keeps what was copied before', async () => {
    const one = await walShelf()
    const to = elsewhere()
    await one.base(1, 1)
    await one.segments(range(1, 4))
    const names = await one.archive().names()
    const path = one.file(names[2] ?? '')
    const bytes = readFileSync(path)
    bytes[bytes.length - 3] = (bytes.at(-3) ?? 0) ^ 1
    writeFileSync(path, bytes)
    const { failures } = await run(one.settings, to, { source: 'db' })
    expect(failures).toMatchObject([{ kind: 'damage', code: 'wal_damaged' }])
    const target = (await openRepository(to)).source('db')
    const [system = ''] = await target.walSystems()
    expect(await target.wal(system).names()).toEqual(names.slice(0, 2))
  })
})

describe('create with copies', () => {
  it('copies after the backup; what an unreachable copy missed comes the next time', async () => {
    const offsite = elsewhere()
    const one = await application({ copies: [{ repository: offsite, keep: {} }] })
    const first = await one.create({ init: false }).catch(error => error)
    expect(first.failures ?? []).not.toEqual([])
    await initRepository(one.source.repository, { now: new Date() })
    const missed = await one.create({ init: false })
    expect(missed.backups).toHaveLength(1)
    expect(missed.copy_failures).toMatchObject([{ source: 'app', code: 'repository_missing', to: offsite.path }])
    await initRepository(offsite, { now: new Date() })
    const caught = await one.create({ init: false })
    expect(caught.copy_failures).toEqual([])
    expect(caught.copies[0]?.backups).toHaveLength(2)
  })

  it('gives copies that verify, drill and restore by themselves', async () => {
    const offsite = elsewhere()
    const one = await application({ copies: [{ repository: offsite, keep: {} }] })
    await one.create()
    await one.create({ type: 'incr' })
    rmSync(one.source.repository.path, { recursive: true })
    const { results } = await verify(one.context, one.journal, {
      repositories: [offsite],
      sources: [],
      targets: [],
      drill: true,
    })
    expect(results.map(({ status }) => status)).toEqual(results.map(() => 'ok'))
    const path = join(temporaryDirectory(), 'back.db')
    const outcome = await restore(one.context, one.journal, {
      repositories: [offsite],
      backup: 'app',
      target: { kind: 'path', path, force: false },
      source: undefined,
      at: undefined,
      dryRun: false,
    })
    expect(outcome.checks.every(({ status }) => status === 'ok')).toBe(true)
  })
})
