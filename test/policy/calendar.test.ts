import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { calendarOf } from '../../src/policy/calendar.js'

function at(iso: string): number {
  return Date.parse(iso)
}

describe('calendar', () => {
  it('names periods as the zone sees them', () => {
    const tokyo = calendarOf('Asia/Tokyo')
    const newYearsEve = at('2025-12-31T15:00:00Z')
    expect(tokyo.yearly(newYearsEve)).toBe('2026')
    expect(tokyo.monthly(newYearsEve)).toBe('2026-01')
    expect(tokyo.daily(newYearsEve)).toBe('2026-01-01')
    expect(tokyo.hourly(newYearsEve)).toBe('2026-01-01T00+09:00')
    expect(tokyo.daily(newYearsEve - 1)).toBe('2025-12-31')
    expect(calendarOf('UTC').hourly(newYearsEve)).toBe('2025-12-31T15+00:00')
  })

  it('counts the hour that a clock set back repeats as two hours of one day', () => {
    const newYork = calendarOf('America/New_York')
    const summer = at('2025-11-02T05:30:00Z')
    const winter = at('2025-11-02T06:30:00Z')
    expect(newYork.hourly(summer)).toBe('2025-11-02T01-04:00')
    expect(newYork.hourly(winter)).toBe('2025-11-02T01-05:00')
    expect(newYork.daily(summer)).toBe(newYork.daily(winter))
  })

  it('gives a day of 23 hours and a day of 25 hours their own name from midnight to midnight', () => {
    const berlin = calendarOf('Europe/Berlin')
    for (const [first, hours, name] of [
      ['2025-03-29T23:00:00Z', 23, '2025-03-30'],
      ['2025-10-25T22:00:00Z', 25, '2025-10-26'],
    ] as const) {
      const begin = at(first)
      const end = begin + hours * 3600_000
      expect([begin, end - 1].map(berlin.daily)).toEqual([name, name])
      expect(berlin.daily(begin - 1)).not.toBe(name)
      expect(berlin.daily(end)).not.toBe(name)
      const hourNames = Array.from({ length: hours }, (_, hour) => berlin.hourly(begin + hour * 3600_000))
      expect(new Set(hourNames).size).toBe(hours)
    }
  })

  it('knows zones whose clocks move by half an hour and days that never were', () => {
    const lordHowe = calendarOf('Australia/Lord_Howe')
    expect(lordHowe.hourly(at('2025-04-05T14:45:00Z'))).toBe('2025-04-06T01+11:00')
    expect(lordHowe.hourly(at('2025-04-05T15:15:00Z'))).toBe('2025-04-06T01+10:30')
    const apia = calendarOf('Pacific/Apia')
    expect(apia.daily(at('2011-12-30T09:59:59Z'))).toBe('2011-12-29')
    expect(apia.daily(at('2011-12-30T10:00:00Z'))).toBe('2011-12-31')
  })

  it.each([
    ['2020-12-31', '2020-W53'],
    ['2021-01-03', '2020-W53'],
    ['2021-01-04', '2021-W01'],
    ['2024-12-29', '2024-W52'],
    ['2024-12-30', '2025-W01'],
    ['2026-12-31', '2026-W53'],
    ['2027-01-03', '2026-W53'],
    ['2000-02-29', '2000-W09'],
    ['0050-01-01', '0049-W52'],
  ])('puts %s into ISO week %s', (day, week) => {
    expect(calendarOf('UTC').weekly(at(`${day}T12:00:00Z`))).toBe(week)
  })

  it('begins a new ISO week on each Monday and never else', () => {
    const { weekly } = calendarOf('UTC')
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 80_000 }), dayNumber => {
        const noon = dayNumber * 86_400_000 + 43_200_000
        const isMonday = new Date(noon).getUTCDay() === 1
        return (weekly(noon) !== weekly(noon - 86_400_000)) === isMonday
      }),
    )
  })

  it('agrees with UTC arithmetic in UTC', () => {
    const utc = calendarOf('UTC')
    fc.assert(
      fc.property(fc.date({ min: new Date('0001-01-01'), max: new Date('9999-12-31'), noInvalidDate: true }), date => {
        const iso = date.toISOString()
        const instant = date.getTime()
        return (
          utc.yearly(instant) === iso.slice(0, 4) &&
          utc.monthly(instant) === iso.slice(0, 7) &&
          utc.daily(instant) === iso.slice(0, 10) &&
          utc.hourly(instant) === `${iso.slice(0, 13)}+00:00`
        )
      }),
    )
  })

  it('refuses a zone that nobody knows', () => {
    expect(() => calendarOf('Mars/Olympus')).toThrow(
      expect.objectContaining({ kind: 'configuration', code: 'timezone_unknown' }),
    )
  })
})
