// The table for people and the judgement of the goals; the JSON has the same, unrounded.

/** Adds to each row its ratio to the floor and whether its goal is met. */
export function judged(section) {
  const floor = section.rows.find(({ name }) => name === section.floor)
  const rows = section.rows.map(row => {
    if (row.missing !== undefined) return row
    const goal = section.goals.find(candidate => candidate.row === row.name)
    const measurable = floor?.missing === undefined
    const timeRatio = measurable ? row.seconds / floor.seconds : null
    const bytesRatio = measurable && row.bytes !== null && floor.bytes ? row.bytes / floor.bytes : null
    const { stdout: _stdout, ...rest } = row
    return {
      ...rest,
      time_ratio: timeRatio,
      bytes_ratio: bytesRatio,
      goals: verdicts(goal, timeRatio, bytesRatio, row),
    }
  })
  return { ...section, rows }
}

function verdicts(goal, time, bytes, row) {
  const found = []
  const judge = (what, limit, value) => {
    found.push({ what, limit, value, met: value === null ? null : value <= limit })
  }
  if (goal?.time !== undefined) judge('time', goal.time, time)
  if (goal?.bytes !== undefined) judge('bytes', goal.bytes, bytes)
  if (row.ours) judge('memory MB', 300, row.peak_mb)
  return found
}

/** One Markdown table for all sections: it goes into the README as it is. */
export function markdown(sections) {
  const head = ['', 'time', 'of floor', 'stored', 'of floor', 'peak memory', 'goals']
  const lines = sections.flatMap(section => [
    [`**${section.title}**`, '', '', '', '', '', ''],
    ...section.rows.map(row => cells(row, section.floor)),
  ])
  const widths = head.map((_, column) => Math.max(...[head, ...lines].map(line => line[column].length), 3))
  const line = texts =>
    `| ${texts.map((text, at) => (at === 0 || at === 6 ? text.padEnd(widths[at]) : text.padStart(widths[at]))).join(' | ')} |`
  const rule = `|${widths.map((width, at) => (at === 0 || at === 6 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  return `${[line(head), rule, ...lines.map(line)].join('\n')}\n`
}

function cells(row, floor) {
  if (row.missing !== undefined) return [row.name, '', '', '', '', '', row.missing]
  const isFloor = row.name === floor
  return [
    row.name,
    row.seconds < 1 ? `${Math.round(row.seconds * 1000)} ms` : `${row.seconds.toFixed(2)} s`,
    isFloor ? 'floor' : ratio(row.time_ratio),
    row.bytes === null ? '' : `${(row.bytes / 1e6).toFixed(1)} MB`,
    isFloor || row.bytes_ratio === null ? '' : ratio(row.bytes_ratio),
    row.peak_mb === null ? 'not measured' : `${Math.round(row.peak_mb)} MB`,
    row.goals.map(words).join(', '),
  ]
}

function ratio(value) {
  return value === null ? '' : `${value.toFixed(2)} x`
}

function words({ what, limit, met }) {
  if (met === null) return `${what} not measured`
  return `${what} ${met ? 'met' : 'NOT met'} (${what === 'memory MB' ? limit : `${limit} x`})`
}
