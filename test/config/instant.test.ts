import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { exactTime, humanTime } from '../../src/cli/output/format.js'
import { endOfDay, parseInstant, parseTime } from '../../src/config/instant.js'
import { isoMicros, isoShort, type Micros } from '../../src/model/micros.js'

function iso(text: string, zone = 'UTC'): string {
  const instant = parseInstant(text, zone)
  return instant instanceof Date ? instant.toISOString() : instant
}

describe('a written time', () => {
  it.each([
    ['2025-11-03T02:59:00Z', '2025-11-03T02:59:00.000Z'],
    ['2025-11-03 02:59Z', '2025-11-03T02:59:00.000Z'],
    ['2025-11-03T02:59:00.5Z', '2025-11-03T02:59:00.500Z'],
    ['2025-11-03T11:59:00+09:00', '2025-11-03T02:59:00.000Z'],
    ['2025-11-03 11:59:00.123456+09', '2025-11-03T02:59:00.123Z'],
    ['2025-11-02 19:59:00-07', '2025-11-03T02:59:00.000Z'],
    ['2025-11-03T11:59:00 -0330', '2025-11-03T15:29:00.000Z'],
  ])('%s with its zone is %s', (text, expected) => expect(iso(text, 'Asia/Tokyo')).toBe(expected))

  it('without a zone is read on the clock of the configured one', () => {
    expect(iso('2025-11-03 11:59', 'Asia/Tokyo')).toBe('2025-11-03T02:59:00.000Z')
    expect(iso('2025-07-01 12:00', 'Europe/Berlin')).toBe('2025-07-01T10:00:00.000Z')
    expect(iso('2025-01-01', 'America/New_York')).toBe('2025-01-01T05:00:00.000Z')
  })

  it('that the clock skips or passes twice is not guessed at', () => {
    expect(iso('2025-03-30 02:30', 'Europe/Berlin')).toBe('never')
    expect(iso('2025-10-26 02:30', 'Europe/Berlin')).toBe('twice')
    expect(iso('2025-10-26T02:30:00+01:00', 'Europe/Berlin')).toBe('2025-10-26T01:30:00.000Z')
  })

  it.each([
    '',
    'yesterday',
    '2025-13-01',
    '2025-02-30',
    '2025-11-03T25:00',
    '2025-11-03Z',
    '2025-11-03T11:00:00+99:00',
    '1762138740',
  ])("'%s' is none", text => expect(iso(text)).toBe('not-a-time'))

  it('is read back in any zone as it was formatted', () => {
    const zones = fc.constantFrom('UTC', 'Asia/Tokyo', 'America/St_Johns', 'Australia/Lord_Howe', 'Pacific/Apia')
    const times = fc.date({ min: new Date('1971-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
    fc.assert(
      fc.property(times, zones, (time, zone) => {
        expect(iso(time.toISOString(), zone)).toBe(time.toISOString())
      }),
    )
  })

  it('of a date alone ends with the last millisecond of that day', () => {
    expect(endOfDay('2025-10-26', 'Europe/Berlin')?.toISOString()).toBe('2025-10-26T22:59:59.999Z')
    expect(endOfDay('2025-12-31', 'UTC')?.toISOString()).toBe('2025-12-31T23:59:59.999Z')
    expect(endOfDay('2025-12-31T10:00Z', 'UTC')).toBeUndefined()
    expect(endOfDay('2025-02-30', 'UTC')).toBeUndefined()
  })

  it('of a date whose midnight is skipped begins when the day does', () => {
    expect(iso('2018-11-04', 'America/Sao_Paulo')).toBe('2018-11-04T03:00:00.000Z')
  })
})

describe('the microseconds that a written time names', () => {
  const micros = fc.bigInt({ min: 31_536_000_000_000n, max: 4_102_444_800_000_000n })
  const zones = fc.constantFrom(
    'UTC',
    'Asia/Tokyo',
    'Europe/Berlin',
    'Europe/London',
    'America/New_York',
    'America/St_Johns',
    'Australia/Lord_Howe',
    'Asia/Kathmandu',
    'Africa/Monrovia',
    'Pacific/Apia',
  )
  const named = (text: string, zone: string): { first: Micros; last: Micros } => {
    const time = parseTime(text, zone)
    if (typeof time === 'string') throw new Error(`${text} in ${zone}: ${time}`)
    return time
  }

  it.each([
    ['2025-11-03T02:59:00Z', '2025-11-03T02:59:00.000000Z', '2025-11-03T02:59:00.999999Z'],
    ['2025-11-03T02:59Z', '2025-11-03T02:59:00.000000Z', '2025-11-03T02:59:00.999999Z'],
    ['2025-11-03T02:59:00.123Z', '2025-11-03T02:59:00.123000Z', '2025-11-03T02:59:00.123999Z'],
    ['2025-11-03 02:59:00.123456 UTC', '2025-11-03T02:59:00.123456Z', '2025-11-03T02:59:00.123456Z'],
    ['2025-11-03 11:59:00.5+09', '2025-11-03T02:59:00.500000Z', '2025-11-03T02:59:00.500000Z'],
    ['2025-11-03 11:59:00.123456789 GMT+9', '2025-11-03T02:59:00.123456Z', '2025-11-03T02:59:00.123456Z'],
    ['2025-11-03 03:59:00 CET', '2025-11-03T02:59:00.000000Z', '2025-11-03T02:59:00.999999Z'],
    ['2025-10-26 02:30:00 CEST', '2025-10-26T00:30:00.000000Z', '2025-10-26T00:30:00.999999Z'],
    ['2025-10-26 02:30:00 CET', '2025-10-26T01:30:00.000000Z', '2025-10-26T01:30:00.999999Z'],
  ])('%s are those from %s to %s', (text, first, last) => {
    const time = named(text, 'Europe/Berlin')
    expect([isoMicros(time.first), isoMicros(time.last)]).toEqual([first, last])
  })

  it.each([
    '2025-11-03 03:59:00 JST',
    '2025-11-03 03:59:00 CEST',
    '2025-11-03 CET',
    '2025-11-03T02:59:00.Z',
  ])("'%s' names none in Berlin", text => expect(parseTime(text, 'Europe/Berlin')).toBe('not-a-time'))

  it('are the very one that was printed, in UTC and on the clock of any zone', () => {
    fc.assert(
      fc.property(micros, zones, (at, zone) => {
        expect(named(isoMicros(at), zone)).toEqual({ first: at, last: at })
        expect(named(exactTime(isoMicros(at), zone), zone)).toEqual({ first: at, last: at })
        const short = named(isoShort(at), zone)
        expect(short.first <= at && at <= short.last).toBe(true)
      }),
    )
  })

  it('hold what was captured in the millisecond or the second that was printed', () => {
    fc.assert(
      fc.property(micros, zones, (at, zone) => {
        const captured = new Date(Number(at / 1000n)).toISOString()
        for (const printed of [
          captured,
          exactTime(captured, zone),
          humanTime(captured, zone),
          captured.replace(/\.\d+/, ''),
        ]) {
          const { first, last } = named(printed, zone)
          expect(first <= at && at <= last).toBe(true)
        }
      }),
    )
  })
})
