import { NexusError } from '../errors.js'

/** Calendar periods that retention counts, finest first. */
export const periods = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const
export type Period = (typeof periods)[number]

/** The name of the period that an instant (milliseconds since 1970 UTC) lies in: equal for instants of one period. */
export type PeriodName = (instant: number) => string

interface LocalTime {
  year: string
  month: string
  day: string
  hour: string
  /** `+09:00` */
  offset: string
}

/**
 * Names the calendar periods of a time zone.
 * An hour carries its UTC offset, so that the hour which a clock set back repeats is two hours, as it was.
 * A week is ISO 8601's: it begins on Monday and belongs to the year of its Thursday.
 * @throws NexusError configuration for a zone that this system does not know
 */
export function calendarOf(timezone: string): Record<Period, PeriodName> {
  const local = localTimeIn(timezone)
  return {
    hourly(instant) {
      const { year, month, day, hour, offset } = local(instant)
      return `${year}-${month}-${day}T${hour}${offset}`
    },
    daily(instant) {
      const { year, month, day } = local(instant)
      return `${year}-${month}-${day}`
    },
    weekly(instant) {
      const { year, month, day } = local(instant)
      return isoWeek(Number(year), Number(month), Number(day))
    },
    monthly(instant) {
      const { year, month } = local(instant)
      return `${year}-${month}`
    },
    yearly: instant => local(instant).year,
  }
}

const dayLength = 24 * 3600 * 1000

/** ISO 8601 week of a date of the Gregorian calendar: `2026-W01`. */
function isoWeek(year: number, month: number, day: number): string {
  const date = midnight(year, month, day)
  const mondayIsZero = (new Date(date).getUTCDay() + 6) % 7
  const thursday = date + (3 - mondayIsZero) * dayLength
  const weekYear = new Date(thursday).getUTCFullYear()
  const week = Math.floor((thursday - midnight(weekYear, 1, 1)) / (7 * dayLength)) + 1
  return `${String(weekYear).padStart(4, '0')}-W${String(week).padStart(2, '0')}`
}

/** Like Date.UTC, which takes the years 0 to 99 for 1900 to 1999. */
function midnight(year: number, month: number, day: number): number {
  return new Date(0).setUTCFullYear(year, month - 1, day)
}

function localTimeIn(timezone: string): (instant: number) => LocalTime {
  const format = formatFor(timezone)
  return instant => {
    const parts: Partial<Record<Intl.DateTimeFormatPartTypes, string>> = {}
    for (const { type, value } of format.formatToParts(instant)) parts[type] = value
    const { year = '', month = '', day = '', hour = '', timeZoneName = '' } = parts
    return { year: year.padStart(4, '0'), month, day, hour, offset: timeZoneName.replace('GMT', '') || '+00:00' }
  }
}

function formatFor(timeZone: string): Intl.DateTimeFormat {
  try {
    return new Intl.DateTimeFormat('en-US', {
      timeZone,
      calendar: 'gregory',
      numberingSystem: 'latn',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      hourCycle: 'h23',
      timeZoneName: 'longOffset',
    })
  } catch (cause) {
    throw new NexusError(
      'configuration',
      'timezone_unknown',
      `the time zone ${JSON.stringify(timeZone)} is not known here`,
      {
        hint: 'set timezone in the configuration to a name such as Asia/Tokyo or UTC',
        cause,
      },
    )
  }
}
