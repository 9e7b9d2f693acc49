import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatDuration, parseDuration } from '../../src/config/duration.js'

describe('a duration', () => {
  it.each([
    ['90s', 90_000],
    ['30min', 1_800_000],
    ['12h', 43_200_000],
    ['30d', 2_592_000_000],
    ['2w', 1_209_600_000],
  ])('%s is %d milliseconds', (text, milliseconds) => expect(parseDuration(text)).toBe(milliseconds))

  it.each([
    '',
    '0d',
    '-1d',
    '1.5h',
    '30',
    'd',
    '6m',
    '1y',
    '30 d',
    '30D',
    '1h30min',
    '9999999999d',
  ])("'%s' is not one", text => expect(parseDuration(text)).toBeUndefined())

  it('is read back as it was formatted', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 999_999_999 }), seconds => {
        expect(parseDuration(formatDuration(seconds * 1000))).toBe(seconds * 1000)
      }),
    )
  })

  it('is formatted back to the same length of time as it was written', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 999_999 }), fc.constantFrom('s', 'min', 'h', 'd', 'w'), (count, unit) => {
        const written = parseDuration(`${count}${unit}`)
        expect(written).toBeGreaterThan(0)
        expect(parseDuration(formatDuration(written ?? 0))).toBe(written)
      }),
    )
  })
})
