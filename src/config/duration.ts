const milliseconds: Readonly<Record<string, number>> = {
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/**
 * Milliseconds of a duration such as `90s`, `30min`, `12h`, `30d` or `8w`; undefined for anything else.
 * There is no `m`: it would be read as minutes by some and months by others. A day is 24 hours.
 */
export function parseDuration(text: string): number | undefined {
  const match = /^([1-9][0-9]{0,8})(s|min|h|d|w)$/.exec(text)
  const unit = milliseconds[match?.[2] ?? '']
  return match === null || unit === undefined ? undefined : Number(match[1]) * unit
}

/** The shortest text that `parseDuration` reads back as the same; whole seconds above zero. */
export function formatDuration(duration: number): string {
  const [name, unit] =
    Object.entries(milliseconds)
      .reverse()
      .find(([, size]) => duration % size === 0) ?? (['s', 1000] as const)
  return `${duration / unit}${name}`
}
