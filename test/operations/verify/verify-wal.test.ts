import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { describe, expect, it, onTestFinished } from 'vitest'
import { verifyFailures } from '../../../src/cli/commands/verify.js'
import { noPaint } from '../../../src/cli/output/colour.js'
import { renderVerify } from '../../../src/cli/output/render-verify.js'
import type { ProgressEvent } from '../../../src/context.js'
import { NexusError } from '../../../src/errors.js'
import { openJournal } from '../../../src/journal/journal.js'
import { prune } from '../../../src/operations/prune.js'
import type { VerifiedBackup } from '../../../src/operations/results.js'
import { verifyWal } from '../../../src/operations/verify/verify-wal.js'
import { verify } from '../../../src/operations/verify.js'
import { noteWalKeptFrom } from '../../../src/operations/wal/wal-kept-from.js'
import { testContext } from '../../helpers/context.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { historyContent, name, range, segmentContent, system, type WalShelf, walShelf } from '../wal-shelf.js'

const times = { closedAt: new Date('2025-11-20T00:00:00Z'), now: new Date('2025-11-20T00:00:00Z') }
function check(one: WalShelf): Promise<VerifiedBackup[]> {
  return verifyWal(testContext(), one.db)
}

const id = (timeline = 1, of = system) => `wal/${of}/0000000${timeline}`

/** Segments 1 to 12 on timeline 1, bases that begin in 3 and 8. */
async function usual(): Promise<{ one: WalShelf; bases: [string, string] }> {
  const one = await walShelf()
  await one.segments(range(1, 12))
  return { one, bases: [await one.base(1, 3), await one.base(2, 8)] }
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path)
  const place = at < 0 ? bytes.length + at : at
  bytes.writeUInt8(bytes.readUInt8(place) ^ 1, place)
  writeFileSync(path, bytes)
}

describe('verify of WAL', () => {
  it('finds nothing in a whole archive, and tells how far it is', async () => {
    const { one } = await usual()
    await one.archive().put(`${name(3)}.00000028.backup`, Buffer.from('START WAL LOCATION: 0/300028'), times)
    const seen: ProgressEvent[] = []
    const results = await verifyWal(testContext({ progress: event => seen.push(event) }), one.db)
    expect(results).toEqual([{ id: id(), source: 'db', status: 'ok', level: 'content', findings: [], affects: [] }])
    expect(seen.at(-1)).toEqual({ phase: 'db: verifying WAL', done: 13, total: 13, unit: 'items' })
  })

  it('names what is missing as ranges, with the bases whose windows are cut', async () => {
    const { one, bases } = await usual()
    for (const number of [5, 6, 7, 10]) rmSync(one.file(name(number)))
    expect(await check(one)).toMatchObject([
      {
        status: 'damaged',
        findings: [
          { part: name(5), problem: `3 segments are missing: ${name(5)} to ${name(7)}` },
          { part: name(10), problem: 'is missing' },
        ],
        affects: bases,
      },
    ])
  })

  it('misses what is gone after the newest base, whatever the record of prunes says', async () => {
    const { one, bases } = await usual()
    await noteWalKeptFrom(one.db, system, 2n ** 63n, times.now)
    expect((await check(one))[0]?.status).toBe('ok')
    rmSync(one.file(name(10)))
    expect(await check(one)).toMatchObject([
      { status: 'damaged', findings: [{ part: name(10), problem: 'is missing' }], affects: [bases[1]] },
    ])
  })

  it('misses the very first segment of a base, and nothing from before the first base', async () => {
    const { one, bases } = await usual()
    rmSync(one.file(name(1)))
    expect((await check(one))[0]?.status).toBe('ok')
    rmSync(one.file(name(3)))
    // The base holds it itself, so its window is not cut.
    expect(await check(one)).toMatchObject([
      { status: 'damaged', findings: [{ part: name(3), problem: 'is missing' }], affects: [] },
    ])
    rmSync(one.file(name(4)))
    expect((await check(one))[0]).toMatchObject({ findings: [{ part: name(3) }], affects: [bases[0]] })
  })

  it('finds every kind of damage in a file', async () => {
    const { one, bases } = await usual()
    flip(one.file(name(2)), 20)
    flip(one.file(name(5)), -3)
    writeFileSync(one.file(name(6)), '')
    renameSync(one.file(name(10)), one.file(name(9)))
    await one.archive().put(name(13), segmentContent(14), times)
    await one.archive().put(name(14), segmentContent(14, 1, '7999999999999999999'), times)
    await one.archive().put(name(15), segmentContent(15).subarray(0, 8192), times)
    const [result] = await check(one)
    expect(result).toMatchObject({ status: 'damaged', affects: bases })
    expect(result?.findings).toEqual([
      { part: name(2), problem: expect.stringContaining('header was changed') },
      { part: name(5), problem: expect.stringContaining('bytes were changed') },
      { part: name(6), problem: expect.stringContaining('does not begin with a header') },
      { part: name(9), problem: expect.stringContaining(`it holds ${name(10)}`) },
      { part: name(13), problem: expect.stringContaining('not a whole WAL segment') },
      { part: name(14), problem: 'its content is of system 7999999999999999999' },
      { part: name(15), problem: expect.stringContaining('8192 bytes') },
      { part: name(10), problem: 'is missing' },
    ])
  })

  it('ends with 4 and says that backups restore all the same', async () => {
    const { one, bases } = await usual()
    flip(one.file(name(5)), -3)
    const results = await check(one)
    const [failure] = verifyFailures({ command: 'verify', results })
    expect(failure).toMatchObject({ kind: 'damage', code: 'wal_damaged' })
    expect(failure?.message).toBe(`damage in archived WAL: db ${id()}; 1 backup cannot be rolled forward past it`)
    expect(renderVerify({ command: 'verify', results }, noPaint)).toContain(
      `cannot be rolled forward past it: ${bases[0]}\n`,
    )
  })

  it('needs nothing that a base holds itself where archiving began after it', async () => {
    const one = await walShelf()
    const base = await one.base(1, 3)
    await one.segments(range(4, 8))
    expect((await check(one))[0]?.status).toBe('ok')
    rmSync(one.file(name(4)))
    expect((await check(one))[0]).toMatchObject({ findings: [{ part: name(4) }], affects: [base] })
  })

  it('takes what prune let go for no damage, but what is lost after that', async () => {
    const { one, bases } = await usual()
    await one.segments([13], { day: 3 })
    const journal = openJournal(temporaryDirectory(), testContext())
    onTestFinished(() => journal.close())
    const sources = [{ name: 'db', repository: one.settings, keep: { last: 2, pitr: 1000 } }]
    await prune(testContext({ now: () => new Date('2025-11-03T00:00:00Z') }), journal, { sources, dryRun: false })
    expect(await one.archived()).toEqual(range(8, 13).map(number => `1/${number}`))
    expect((await check(one))[0]).toMatchObject({ status: 'ok', affects: [] })
    rmSync(one.file(name(8)))
    rmSync(one.file(name(9)))
    expect((await check(one))[0]).toMatchObject({
      status: 'damaged',
      findings: [{ part: name(8), problem: `2 segments are missing: ${name(8)} to ${name(9)}` }],
      affects: [bases[1]],
    })
  })

  it('says that the record of what prune let go is damaged, and judges the rest', async () => {
    const { one } = await usual()
    writeFileSync(one.path('db', '.wal-kept-from.json'), '{"format":1')
    for (const number of [1, 2, 3, 4, 9]) rmSync(one.file(name(number)))
    const journal = openJournal(temporaryDirectory(), testContext())
    onTestFinished(() => journal.close())
    const request = { repositories: [one.settings], sources: [], targets: ['db'], drill: false }
    const { results } = await verify(testContext({ stateDirectory: temporaryDirectory() }), journal, request)
    const problem = expect.stringContaining('cannot be understood')
    expect(results.find(result => result.id === 'db')?.findings).toEqual([{ part: '.wal-kept-from.json', problem }])
    expect(results.find(result => result.id === id())?.findings).toEqual([{ part: name(9), problem: 'is missing' }])
  })
})

describe('verify of WAL over timelines', () => {
  /** Timeline 2 leaves 1 in segment 9; a base on each. */
  async function forked(): Promise<{ one: WalShelf; bases: [string, string] }> {
    const one = await walShelf()
    await one.segments(range(3, 10))
    await one.archive().put('00000002.history', historyContent([[1, 9]]), times)
    await one.segments(range(9, 15), { timeline: 2 })
    return { one, bases: [await one.base(1, 4), await one.base(5, 12, { timeline: 2 })] }
  }

  it('follows each line', async () => {
    const { one, bases } = await forked()
    expect((await check(one)).map(result => [result.id, result.status])).toEqual([
      [id(1), 'ok'],
      [id(2), 'ok'],
    ])
    rmSync(one.file(name(9, 2)))
    rmSync(one.file(name(9)))
    expect(await check(one)).toMatchObject([
      { id: id(1), findings: [{ part: name(9), problem: 'is missing' }], affects: [bases[0]] },
      { id: id(2), findings: [{ part: name(9, 2), problem: 'is missing' }], affects: [bases[0]] },
    ])
  })

  it('needs nothing of the old timeline from the segment on in which it was left', async () => {
    const { one } = await forked()
    rmSync(one.file(name(9)))
    rmSync(one.file(name(10)))
    expect((await check(one)).map(({ status }) => status)).toEqual(['ok', 'ok'])
    rmSync(one.file(name(8)))
    expect((await check(one))[0]?.findings).toEqual([{ part: name(8), problem: 'is missing' }])
  })

  it('finds a history that is damaged or gone', async () => {
    const { one, bases } = await forked()
    const file = one.file('00000002.history')
    const content = readFileSync(file)
    flip(file, -3)
    expect((await check(one))[1]).toMatchObject({ findings: [{ part: '00000002.history' }], affects: [bases[0]] })
    rmSync(file)
    await one.archive().put('00000002.history', Buffer.from('2\t0/3000000\tits own ancestor\n'), times)
    expect((await check(one))[1]?.findings).toEqual([
      { part: '00000002.history', problem: expect.stringContaining('cannot be its ancestor') },
    ])
    rmSync(file)
    expect((await check(one))[1]).toMatchObject({
      status: 'damaged',
      findings: [{ part: '00000002.history', problem: 'is missing' }],
      affects: [bases[0]],
    })
    writeFileSync(file, content)
    expect((await check(one))[1]?.status).toBe('ok')
  })
})

describe('verify of a source with WAL', () => {
  it('includes the WAL of a named source and of everything, not of a single backup', async () => {
    const { one, bases } = await usual()
    const context = testContext({ stateDirectory: temporaryDirectory() })
    const journal = openJournal(context.stateDirectory, context)
    onTestFinished(() => journal.close())
    const ids = async (targets: string[]) => {
      const request = { repositories: [one.settings], sources: [], targets, drill: false }
      return (await verify(context, journal, request)).results.map(result => result.id)
    }
    expect(await ids(['db'])).toContain(id())
    expect(await ids([])).toContain(id())
    expect(await ids([bases[0]])).toEqual([bases[0]])
  })

  it('checks a source that has nothing but WAL', async () => {
    const one = await walShelf()
    await one.segments([1, 3])
    const context = testContext({ stateDirectory: temporaryDirectory() })
    const journal = openJournal(context.stateDirectory, context)
    onTestFinished(() => journal.close())
    const request = { repositories: [one.settings], sources: [], targets: [], drill: false }
    expect((await verify(context, journal, request)).results).toMatchObject([{ id: id(), status: 'ok' }])
  })

  it('stops at a signal', async () => {
    const { one } = await usual()
    const stop = new NexusError('interrupted', 'interrupted_sigterm', 'stopped by SIGTERM')
    const controller = new AbortController()
    const context = testContext({
      signal: controller.signal,
      progress: ({ done }) => done === 2 && controller.abort(stop),
    })
    await expect(verifyWal(context, one.db)).rejects.toBe(stop)
  })
})
