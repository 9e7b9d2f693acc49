const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** Bytes in a unit people read: `999 B`, `1.0 GiB`. */
export function humanBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  // 1023.95 would round to 1024.0 of the smaller unit.
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return unit === 0 ? `${Math.round(value)} B` : `${value.toFixed(1)} ${units[unit]}`
}

/** Milliseconds in words: `250 ms`, `2.4 s`, `3 min 20 s`, `2 h 5 min`. */
export function humanDuration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`
  if (milliseconds < 59_950) return `${(milliseconds / 1000).toFixed(1)} s`
  const seconds = Math.round(milliseconds / 1000)
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`
}

/** An instant on the wall clock of a zone, with the zone's name: `2025-11-03 12:00:00 GMT+9`. */
export function humanTime(instant: string, zone: string): string {
  return wallClock(instant, zone, '')
}

/**
 * An instant to be pasted as a target, with the fraction that it is written with: `2025-11-03 12:00:00.123 GMT+9`. Without
 * it the whole second is meant, and something else may lie in that too.
 */
export function exactTime(instant: string, zone: string): string {
  const fraction = /\.\d+/.exec(instant)?.[0] ?? ''
  return wallClock(instant, zone, fraction === '.000' ? '' : fraction)
}

function wallClock(instant: string, zone: string, fraction: string): string {
  const date = new Date(instant)
  if (Number.isNaN(date.getTime())) return instant
  // `03/11/2025, 12:00:00 GMT+9`: its parts one by one take four times as long.
  const [, day, month, year, time, name] =
    /^(\d+)\/(\d+)\/(\d+), (\d+:\d+:\d+) (.+)$/.exec(clockOf(zone).format(date)) ?? []
  return `${year}-${month}-${day} ${time}${fraction} ${name}`
}

const clocks = new Map<string, Intl.DateTimeFormat>()

/** One for each zone: to make it takes a millisecond, and a list of files has a million times. */
function clockOf(zone: string): Intl.DateTimeFormat {
  const known = clocks.get(zone)
  if (known !== undefined) return known
  const clock = new Intl.DateTimeFormat('en-GB-u-ca-gregory-nu-latn', {
    timeZone: zone,
    hourCycle: 'h23',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    timeZoneName: 'short',
  })
  clocks.set(zone, clock)
  return clock
}

/** `1 backup`, `2 backups`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/**
 * Text from a repository or a database, safe for a terminal: control characters, which could move the
 * cursor or hide lines, become visible escapes. Line breaks stay where `lines` allows them.
 */
export function printable(text: string, options: { lines?: boolean } = {}): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, character =>
    options.lines === true && character === '\n'
      ? character
      : `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
}

/** So many of a kind are named before only their number is. */
export const SHOWN = 3

/** The first of a list, and how many more there are: `a, b, c and 7 more`. */
export function firstFew(names: readonly string[]): string {
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : ''
  return `${names.slice(0, SHOWN).join(', ')}${more}`
}
