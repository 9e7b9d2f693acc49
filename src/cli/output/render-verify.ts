import type { VerifiedBackup, VerifiedRecovery, VerifyPreview, VerifyResult } from '../../operations/results.js'
import type { Paint } from './colour.js'
import { counted, humanBytes, humanDuration, printable } from './format.js'

const levels: Readonly<Record<VerifiedBackup['level'], string>> = {
  stored: 'stored bytes',
  content: 'content',
  drill: 'drill',
}

/** A line for each backup, and its findings below it. */
export function renderVerify({ results, recovery = [] }: VerifyResult, paint: Paint): string {
  return [...results.map(result => renderOne(result, paint)), ...recovery.map(one => renderRecovery(one, paint))].join(
    '',
  )
}

/** What recovers a repository without this program, to be compared with what is kept with the key. */
function renderRecovery({ repository, status, edition, sha256 }: VerifiedRecovery, paint: Paint): string {
  const shown = status === 'genuine' ? paint.good(status) : paint.bad(status)
  return `${printable(repository)}: recover.mjs ${shown} (edition ${edition}, SHA-256 ${sha256 ?? 'of none'})\n`
}

/** A line for each source, and one for each restore that a drill would make. */
export function renderVerifyPlan({ plan }: VerifyPreview): string {
  const lines = plan.flatMap(({ source, repository, backups, bytes_stored, wal, drill }) => [
    `${printable(source)}: would verify ${counted(backups.length, 'backup')} (${humanBytes(bytes_stored)})${wal ? ' and archived WAL' : ''} in ${printable(repository)}`,
    ...drill.map(id => `${printable(source)}: would restore ${printable(id)} into scratch space`),
  ])
  return lines.map(line => `${line}\n`).join('')
}

function renderOne(result: VerifiedBackup, paint: Paint): string {
  const status = result.status === 'ok' ? paint.good('ok') : paint.bad(result.status)
  const drill = result.drill === undefined ? '' : `, restored in ${humanDuration(result.drill.restore_ms)}`
  const lines = [`${printable(result.source)}: ${printable(result.id)} ${status} (${levels[result.level]}${drill})`]
  for (const { part, problem } of result.findings) lines.push(`  ${printable(part)}: ${printable(problem)}`)
  const others = result.affects.filter(id => id !== result.id)
  const what = isWalResult(result) ? 'cannot be rolled forward past it' : 'cannot be restored either'
  if (others.length > 0) lines.push(`  ${what}: ${others.map(id => printable(id)).join(', ')}`)
  return lines.map(line => `${line}\n`).join('')
}

/** Whether a result is of archived WAL (`wal/SYSTEM/TIMELINE`): it cuts windows, and takes no backup down with it. */
export function isWalResult({ id }: Pick<VerifiedBackup, 'id'>): boolean {
  return id.startsWith('wal/')
}
