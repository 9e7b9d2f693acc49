import { printable } from './format.js'

export interface Column {
  title: string
  align?: 'right'
}

/** Aligned columns without borders, two spaces apart; the last column is not padded. Ends with a line break. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const lines = [columns.map(column => column.title), ...rows.map(row => row.map(cell => printable(cell)))]
  const widths = columns.map((_, at) => Math.max(...lines.map(line => (line[at] ?? '').length)))
  const text = lines.map(line =>
    columns
      .map(({ align }, at) => {
        const cell = line[at] ?? ''
        return align === 'right' ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0)
      })
      .join('  ')
      .trimEnd(),
  )
  return `${text.join('\n')}\n`
}
