import type { CreatedBackup, CreateResult } from '../../operations/results.js'
import type { Paint } from './colour.js'
import { counted, humanBytes, humanDuration, printable } from './format.js'
import { describeCopy } from './render-copy.js'

function lockOf({ lock }: CreatedBackup): string {
  if (lock === undefined) return ''
  const extended = [
    ...(lock.backups > 0 ? [counted(lock.backups, 'backup')] : []),
    ...(lock.wal > 0 ? [`${counted(lock.wal, 'file')} of the log`] : []),
  ]
  return `, locked until ${lock.until}${extended.length === 0 ? '' : `, and so is what it needs: ${extended.join(' and ')}`}`
}

/** A line for each backup made, or planned by a dry run. */
export function renderCreate(result: CreateResult, { dryRun, paint }: { dryRun: boolean; paint: Paint }): string {
  const lines = result.backups.map(backup => {
    const { source, type, parent, id } = backup
    const after = parent === null ? '' : ` after ${parent}`
    if (dryRun) return `${source}: would make a ${type} backup${after} in ${printable(backup.repository)}`
    const stored = humanBytes(backup.bytes_stored)
    const facts = `${type}, ${stored} stored of ${humanBytes(backup.bytes_source)}, ${humanDuration(backup.duration_ms)}`
    return `${source}: ${paint.good(id)} ${facts}${lockOf(backup)}`
  })
  const copies = result.copies.map(report => describeCopy(report, { dryRun, paint }))
  return [...lines, ...copies].map(line => `${line}\n`).join('')
}
