import type { CopyReport, CopyResult } from '../../operations/results.js'
import type { Paint } from './colour.js'
import { counted, humanBytes, printable } from './format.js'

/** A line for each source and repository. */
export function renderCopy({ copies, dry_run }: CopyResult, paint: Paint): string {
  return copies.map(report => `${describeCopy(report, { dryRun: dry_run, paint })}\n`).join('')
}

/** What one repository got, in a line. */
export function describeCopy(report: CopyReport, { dryRun, paint }: { dryRun: boolean; paint: Paint }): string {
  const where = printable(report.to)
  const left = report.problems.length === 0 ? '' : `, ${paint.bad(`${report.problems.length} damaged and left out`)}`
  if (report.backups.length === 0 && report.wal === 0) return `${report.source}: ${where} has everything${left}`
  const log = report.wal === 0 ? '' : ` and ${counted(report.wal, 'file')} of the log`
  const what = `${counted(report.backups.length, 'backup')}${log}, ${humanBytes(report.bytes)}`
  return `${report.source}: ${dryRun ? 'would copy' : 'copied'} ${what} to ${where}${left}`
}
