import { describe, expect, it } from 'vitest'
import { parseTime } from '../../../src/config/instant.js'
import { microsOf } from '../../../src/model/micros.js'
import type { LoadedSystem } from '../../../src/operations/pitr/load-systems.js'
import { planTarget } from '../../../src/operations/pitr/plan-target.js'
import type { ClusterTarget } from '../../../src/operations/pitr/requests.js'
import type { ClusterSystem } from '../../../src/operations/pitr/systems.js'
import type { WalEvent } from '../../../src/sources/postgres/wal-events.js'
import { formatLsn } from '../../../src/sources/postgres/wal-names.js'
import { testContext } from '../../helpers/context.js'
import { commit, fakeScan } from './fake-wal.js'
import { base, minute, system, within } from './histories.js'

const whole = system([base('one', 10), base('two', 20)], { 1: [[5, 40]] })
const hour = '2025-11-03T00'

/** A time as it is written on the command line. */
function at(text: string, before = false): ClusterTarget {
  const time = parseTime(text, 'UTC')
  if (typeof time === 'string') throw new Error(`${text}: ${time}`)
  return { kind: 'time', at: time, before }
}

type Planned = Exclude<ClusterTarget, { kind: 'base' }>
const plan = async (target: ClusterTarget, events: WalEvent[], of: ClusterSystem = whole, scan = fakeScan(events)) => {
  const wish = { target: target as Planned, timeline: 'latest' as const }
  const { resolution, candidate } = await planTarget(testContext({}), [of as LoadedSystem], wish, async () => scan)
  return { ...resolution, base: candidate.base.id }
}
const stopsAt = (lsn: bigint) => ({ name: 'recovery_target_lsn', value: formatLsn(lsn) })
const immediately = { name: 'recovery_target', value: 'immediate' }

/** Three commits within the second of 00:25, each a microsecond after the other. */
const dense = [
  commit(700, 21),
  commit(701, 25, microsOf(minute(25)) + 123_455n, 0),
  commit(702, 25, microsOf(minute(25)) + 123_456n, 100),
  commit(703, 25, microsOf(minute(25)) + 123_457n, 200),
  commit(704, 39),
]

describe('a time', () => {
  it.each([
    // Pasted from pg_waldump, psql with its zone, and our own output.
    [`2025-11-03 00:25:00.123456 UTC`, 702],
    [`2025-11-03 09:25:00.123456+09`, 702],
    [`${hour}:25:00.123455Z`, 701],
    [`${hour}:25:00.123457Z`, 703],
    [`${hour}:25:00.12345Z`, 700],
    // Cut to what other programs print: all of it is meant.
    [`${hour}:25:00.123Z`, 703],
    [`${hour}:25:00Z`, 703],
    [`${hour}:25Z`, 703],
    [`${hour}:24:59Z`, 700],
    [`${hour}:24:59.999999Z`, 700],
    [`${hour}:30Z`, 703],
  ])('%s is the position after transaction %i', async (text, xid) => {
    const { setting, last, next, base: chosen } = await plan(at(text), dense)
    const place = dense.find(event => event.kind === 'commit' && event.xid === xid)
    expect([last?.xid, next?.xid, chosen]).toEqual([xid, xid + 1, 'two'])
    expect(setting).toEqual(stopsAt(place?.lsn ?? 0n))
  })

  it.each([
    [`${hour}:25:00.123456Z`, 701, 702],
    [`${hour}:25:00Z`, 700, 701],
    [`${hour}:25:00.123457Z`, 702, 703],
    [`${hour}:26Z`, 703, 704],
  ])('%s with --before is the commit before the first one of then or later', async (text, xid, left) => {
    const { last, next } = await plan(at(text, true), dense)
    expect([last?.xid, next?.xid]).toEqual([xid, left])
  })

  it('is the last commit in the order of the log, also where a later one was written first', async () => {
    const crossed = [
      commit(700, 25, 25),
      commit(702, 26, microsOf(minute(26)) + 9n),
      commit(701, 26, microsOf(minute(26)) + 5n, 50),
    ]
    const { last } = await plan(at(`${hour}:26:00.000005Z`), [...crossed, commit(703, 30)])
    expect(last?.xid).toBe(701)
  })

  it('before the first commit after a base is the base, and the next commit is named', async () => {
    const { setting, last, next } = await plan(at(`${hour}:21:59.5Z`), [
      commit(1, 19),
      commit(2, 20, 20, -9),
      commit(3, 22),
    ])
    expect([setting, last, next?.xid]).toEqual([immediately, null, 3])
  })

  it('after the last commit says that nothing ended between', async () => {
    const { setting, notes, next } = await plan(at(`${hour}:39:30Z`), dense)
    expect([setting, next]).toEqual([stopsAt(within(39)), null])
    expect(notes).toEqual([expect.stringContaining('no transaction ended between')])
  })

  it('without any commit after the base is the base', async () => {
    expect((await plan(at(`${hour}:35Z`), [])).setting).toEqual(immediately)
  })

  it('after the last segment was closed is not found, and the last instant is named', async () => {
    await expect(plan(at(`${hour}:39:31Z`), dense)).rejects.toMatchObject({
      kind: 'not-found',
      code: 'target_too_late',
      message: expect.stringContaining('2025-11-03T00:39:00.000000Z'),
    })
    // The second in which it was closed is still one that can be named.
    expect((await plan(at(`${hour}:39:30Z`), dense)).last?.xid).toBe(704)
  })

  it('behind a missing segment is damage, and the segment is named', async () => {
    const spans = [
      [5, 33],
      [34, 40],
    ] as const
    const holed = system([base('one', 10)], { 1: spans })
    const events = [commit(1, 32)]
    expect((await plan(at(`${hour}:32:10Z`), events, holed)).last?.xid).toBe(1)
    await expect(plan(at(`${hour}:35Z`), events, holed)).rejects.toMatchObject({
      code: 'wal_missing',
      message: expect.stringContaining('000000010000000000000021'),
    })
  })

  it('does not read the log behind it, unless a segment was closed at an earlier time than one before it', async () => {
    const scan = fakeScan([commit(1, 22), commit(2, 24), commit(3, 30)])
    await plan(at(`${hour}:23Z`), [], whole, scan)
    expect(scan.read).toEqual([20, 21, 22, 23, 24])
    const back = fakeScan([commit(1, 22), commit(2, 24)], [], segment => minute(segment === 35 ? 32.5 : segment + 0.5))
    await plan(at(`${hour}:23Z`), [], whole, back)
    expect(back.read).toEqual([20, 21, 22, 23, 24, 35, 36])
  })

  it('in a damaged segment or behind it is damage, before it is not', async () => {
    const events = [commit(1, 22), commit(2, 24), commit(3, 30)]
    await expect(plan(at(`${hour}:29Z`), [], whole, fakeScan(events, [26]))).rejects.toMatchObject({
      code: 'wal_damaged',
    })
    expect((await plan(at(`${hour}:23Z`), [], whole, fakeScan(events, [26]))).last?.xid).toBe(1)
  })
})

describe('a clock that was set back', () => {
  // At 00:30 to 00:24.
  const events = [commit(1, 22), commit(2, 30), commit(3, 31, 24), commit(4, 32, 27), commit(5, 39, 35)]
  const closed = (segment: number) => minute(segment > 30 ? segment - 6.5 : segment + 0.5)
  const planned = (target: ClusterTarget) => plan(target, [], whole, fakeScan(events, [], closed))

  it('makes times that came twice, which are refused with the nearest on both sides', async () => {
    for (const text of [`${hour}:24:00.000000Z`, `${hour}:26Z`, `${hour}:29:59Z`, `${hour}:30:00.000000Z`]) {
      await expect(planned(at(text))).rejects.toMatchObject({
        kind: 'not-found',
        code: 'target_twice',
        message: expect.stringContaining(formatLsn(within(31))),
        hint: expect.stringMatching(/--at 2025-11-03T00:23:59.999999Z .* --at 2025-11-03T00:30:00.000001Z/),
      })
    }
  })

  it('leaves the times around them, and every transaction by its number', async () => {
    expect((await planned(at(`${hour}:23:59.999999Z`))).last?.xid).toBe(1)
    expect((await planned(at(`${hour}:30:00.000001Z`))).last?.xid).toBe(4)
    expect((await planned({ kind: 'xid', xid: '3', before: true })).last?.xid).toBe(2)
  })

  it('is seen in the backups too', async () => {
    const bases = [base('one', 10), base('two', 20, { capturedAt: minute(35) }), base('three', 25)]
    const of = system(bases, { 1: [[5, 40]] })
    await expect(plan(at(`${hour}:30Z`), [], of)).rejects.toMatchObject({ code: 'target_twice' })
  })
})

describe('a stretch of wal_level=minimal', () => {
  const minimal: WalEvent = { kind: 'parameters', lsn: within(30), isMinimal: true }
  const events = [commit(1, 22), commit(2, 29), minimal, commit(3, 31), commit(4, 39)]

  it.each<[string, ClusterTarget]>([
    ['a time', at(`${hour}:35Z`)],
    ['a time before it of what came after', at(`${hour}:39Z`, true)],
    ['a transaction', { kind: 'xid', xid: '4', before: false }],
    ['the commit before a transaction', { kind: 'xid', xid: '4', before: true }],
    ['a position', { kind: 'lsn', lsn: formatLsn(within(39)) }],
    ['the end', { kind: 'end' }],
  ])('%s behind it is not found, and the nearest is named', async (_, target) => {
    await expect(plan(target, events)).rejects.toMatchObject({
      kind: 'not-found',
      code: 'wal_level_minimal',
      message: expect.stringContaining(formatLsn(within(30))),
      hint: expect.stringContaining('--at 2025-11-03T00:29:00.000000Z'),
    })
  })

  it('does not hinder what lies before it, or begins after it', async () => {
    expect((await plan(at(`${hour}:29:30Z`), events)).last?.xid).toBe(2)
    expect((await plan({ kind: 'xid', xid: '3', before: true }, events)).last?.xid).toBe(2)
    const later = system([base('one', 10), base('after', 35)], { 1: [[5, 40]] })
    expect((await plan(at(`${hour}:39Z`), events, later)).last?.xid).toBe(4)
    await expect(plan(at(`${hour}:33Z`), events, later)).rejects.toMatchObject({
      hint: expect.stringContaining('after, captured at 2025-11-03T00:35:00.000Z'),
    })
  })
})

describe('a transaction', () => {
  const ended: WalEvent = { kind: 'abort', lsn: within(26), xid: 6, members: [], at: microsOf(minute(26)) }
  const parts: WalEvent = { kind: 'commit', lsn: within(28), xid: 7, members: [8, 9], at: microsOf(minute(28)) }
  const events = [commit(5, 22), ended, parts, commit(10, 30)]

  it('is found by its number, and by that of a part of it', async () => {
    const own = await plan({ kind: 'xid', xid: '7', before: false }, events)
    expect(own).toMatchObject({
      setting: { name: 'recovery_target_xid', value: '7' },
      last: { xid: 7 },
      next: { xid: 10 },
    })
    const part = await plan({ kind: 'xid', xid: '9', before: false }, events)
    expect(part).toMatchObject({ setting: stopsAt(within(28)), last: { xid: 7 } })
    // With an epoch, as txid_current() gives it.
    expect((await plan({ kind: 'xid', xid: String(2n ** 32n + 7n), before: true }, events)).last?.xid).toBe(5)
  })

  it('that was rolled back ends too', async () => {
    expect(await plan({ kind: 'xid', xid: '6', before: false }, events)).toMatchObject({
      last: { xid: 5 },
      next: { xid: 7 },
    })
  })

  it('is looked for from the newest base back', async () => {
    const early = [commit(3, 12), commit(4, 15), ...events]
    expect(await plan({ kind: 'xid', xid: '4', before: true }, early)).toMatchObject({ base: 'one', last: { xid: 3 } })
    await expect(plan({ kind: 'xid', xid: '99', before: false }, early)).rejects.toMatchObject({
      code: 'target_not_found',
    })
  })
})

describe('a transaction in a long archive', () => {
  const long = system([base('one', 10), base('two', 500), base('three', 800)], { 1: [[5, 1000]] })
  /** Every fourth segment has the number of the next transaction, as a busy server writes it. */
  const numbered = Array.from({ length: 990 }, (_, at) => at + 10).flatMap((segment): WalEvent[] => {
    const next: WalEvent = { kind: 'next-xid', lsn: within(segment) + 1n, xid: segment * 10 }
    return [...(segment % 4 === 0 ? [next] : []), commit(segment * 10 + 1, segment, segment, 50)]
  })
  const sought = async (xid: number, events: WalEvent[] = numbered, damaged: number[] = []) => {
    const scan = fakeScan(events, damaged)
    const planned = await plan({ kind: 'xid', xid: String(xid), before: false }, events, long, scan)
    return { base: planned.base, last: planned.last?.xid, read: new Set(scan.read).size }
  }

  it.each([
    [141, 'one', 50],
    [4991, 'one', 520],
    [5011, 'two', 40],
    [7991, 'two', 330],
    [9991, 'three', 230],
  ])('%i is found without reading what was written before it, but for what leads there from base %s', async (xid, from, most) => {
    const found = await sought(xid)
    expect(found).toMatchObject({ base: from, last: xid })
    expect(found.read).toBeLessThan(most)
  })

  it('that ends long after it began is found where it ends', async () => {
    const late = [...numbered, commit(3000, 900, 900, 60)]
    expect(await sought(3000, late)).toMatchObject({ base: 'three', last: 3000 })
  })

  it('is found behind a damaged segment that its recovery does not need, and in front of one', async () => {
    expect(await sought(9991, numbered, [400])).toMatchObject({ last: 9991 })
    expect(await sought(5051, numbered, [900])).toMatchObject({ last: 5051 })
    await expect(sought(9991, numbered, [900])).rejects.toMatchObject({ code: 'wal_damaged' })
    // It may be in there.
    await expect(sought(9005, numbered, [900])).rejects.toMatchObject({ code: 'wal_damaged' })
    await expect(sought(12_000, numbered, [400])).rejects.toMatchObject({ code: 'target_not_found' })
  })

  it('is found wherever numbers begin again', async () => {
    const from = 2 ** 32 - 5000
    const round = numbered.map(event => ('xid' in event ? { ...event, xid: (event.xid + from) % 2 ** 32 } : event))
    for (const xid of [141, 4991, 5011, 9991]) {
      expect(await sought((xid + from) % 2 ** 32, round)).toMatchObject({ last: (xid + from) % 2 ** 32 })
    }
  })
})

describe('a restore point', () => {
  const named = (name: string, segment: number): WalEvent => {
    return { kind: 'restore-point', lsn: within(segment), name, at: microsOf(minute(segment)) }
  }
  const target = (name: string): ClusterTarget => ({ kind: 'restore-point', name })
  const events = [commit(1, 12), named('before 4.2', 13), named('nightly', 15), commit(2, 16), named('nightly', 25)]

  it('is found by a name that was given once, from the newest base before it', async () => {
    expect(await plan(target('before 4.2'), events)).toMatchObject({
      setting: { name: 'recovery_target_name', value: 'before 4.2' },
      base: 'one',
      last: { xid: 1 },
      next: { xid: 2 },
    })
    await expect(plan(target('other'), events)).rejects.toMatchObject({ code: 'target_not_found' })
  })

  it('whose name was given several times is refused, and each can be chosen by its position', async () => {
    await expect(plan(target('nightly'), events)).rejects.toMatchObject({
      kind: 'usage',
      code: 'restore_point_ambiguous',
      message: `shop: the restore point 'nightly' was made 2 times: 2025-11-03T00:15:00.000000Z (--lsn ${formatLsn(within(15))}), 2025-11-03T00:25:00.000000Z (--lsn ${formatLsn(within(25))})`,
      hint: expect.stringContaining(`--lsn ${formatLsn(within(25))}`),
    })
    for (const [segment, from] of [
      [15, 'one'],
      [25, 'two'],
    ] as const) {
      const chosen = await plan({ kind: 'lsn', lsn: formatLsn(within(segment)) }, events)
      expect(chosen).toMatchObject({ setting: stopsAt(within(segment)), base: from })
    }
  })

  it('of a name that many were given is one of the last that are shown', async () => {
    const many = Array.from({ length: 30 }, (_, at) => named('nightly', 10 + at))
    const { message } = (await plan(target('nightly'), many).catch(error => error)) as Error
    expect(message).toContain('was made 30 times: 10 earlier ones, 2025-11-03T00:20:00.000000Z')
    expect(message.match(/--lsn/g)).toHaveLength(20)
  })

  it('that is found, while another one may be in a damaged segment, is said to be perhaps one of several', async () => {
    const warnings: string[] = []
    const context = testContext({ warn: message => void warnings.push(message) })
    const wish = { target: target('before 4.2') as Planned, timeline: 'latest' as const }
    const damaged = fakeScan(events, [30])
    const { resolution } = await planTarget(context, [whole as LoadedSystem], wish, async () => damaged)
    expect(resolution.setting?.value).toBe('before 4.2')
    expect(warnings).toEqual([
      expect.stringContaining("whether 'before 4.2' was given once more is not known: segment 30"),
    ])
    await expect(plan(target('other'), events, whole, fakeScan(events, [30]))).rejects.toMatchObject({
      code: 'wal_damaged',
    })
  })
})

describe('files that go before their transaction commits', () => {
  const dropped: WalEvent = { kind: 'drop', lsn: within(25) + 50n, xid: 8, what: 'database', oid: 16_384 }
  const alone = [commit(7, 25), dropped, commit(8, 25, 25.5, 100), commit(9, 39)]
  const amid = [commit(7, 25), dropped, commit(20, 25, 25.2, 80), commit(8, 25, 25.5, 100), commit(9, 39)]

  it('are still there at a time before the commit', async () => {
    expect(await plan(at(`${hour}:25:29.999999Z`), alone)).toMatchObject({ setting: stopsAt(within(25)), notes: [] })
  })

  it('are said to be gone where another transaction committed meanwhile', async () => {
    const { last, notes } = await plan(at(`${hour}:25:29Z`), amid)
    expect([last?.xid, notes]).toEqual([20, [expect.stringContaining('--xid 8 --before')]])
    expect((await plan(at(`${hour}:25:31Z`), amid)).notes).toEqual([])
  })

  it('are there with --before, by number and by time', async () => {
    expect((await plan({ kind: 'xid', xid: '8', before: true }, amid)).last?.xid).toBe(7)
    expect((await plan(at(`${hour}:25:30Z`, true), amid)).last?.xid).toBe(7)
  })
})

describe('a position', () => {
  it('must not lie after the last record', async () => {
    const events = [commit(1, 22), commit(2, 39)]
    const lsn = (position: bigint): ClusterTarget => ({ kind: 'lsn', lsn: formatLsn(position) })
    expect((await plan(lsn(within(22)), events)).setting).toEqual(stopsAt(within(22)))
    await expect(plan(lsn(within(39) + 8n), events)).rejects.toMatchObject({ code: 'target_too_late' })
    await expect(plan(lsn(within(30)), [])).rejects.toMatchObject({ code: 'target_too_late' })
    expect((await plan(lsn(within(20)), [])).setting).toEqual(immediately)
  })
})

describe('the end', () => {
  it('is everything on the timeline, with the last commit', async () => {
    expect(await plan({ kind: 'end' }, dense)).toMatchObject({
      setting: null,
      notes: [],
      last: { xid: 704 },
      next: null,
    })
  })

  it('says what lies behind a gap', async () => {
    const spans = [
      [5, 33],
      [34, 40],
    ] as const
    const { notes } = await plan({ kind: 'end' }, [], system([base('one', 10)], { 1: spans }))
    expect(notes).toEqual([expect.stringContaining('000000010000000000000021')])
  })
})
