import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { endOfDay, parseInstant } from '../../src/config/instant.js'

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
