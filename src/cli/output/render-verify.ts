import type { VerifiedBackup, VerifiedRecovery, VerifyPreview, VerifyResult } from '../../operations/results.js'
import type { Paint } from './colour.js'
import { counted, firstFew, humanBytes, humanDuration, printable, SHOWN } from './format.js'

const levels: Readonly<Record<VerifiedBackup['level'], string>> = {
  stored: 'stored bytes',
  content: 'content',
  drill: 'drill',
}

/**
 * A line for each backup that is whole, and the first of each other kind with their findings. What is damaged only by what it
 * stands on is named there. Then what recovers each repository without this program.
 */
export function renderVerify({ results, recovery = [] }: VerifyResult, paint: Paint): string {
  const counts = new Map<string, number>()
  const lines: string[] = []
  for (const result of results) {
    if (result.status === 'ok') lines.push(renderOne(result, paint))
    else if (!isConsequence(result)) {
      const kind = `${result.source}: ${result.status}${isWalResult(result) ? ' WAL' : ''}`
      const count = (counts.get(kind) ?? 0) + 1
      counts.set(kind, count)
      if (count <= SHOWN) lines.push(renderOne(result, paint))
    }
  }
  for (const [kind, count] of counts) {
    if (count > SHOWN) lines.push(`${printable(kind)}: and ${count - SHOWN} more; --json names them all\n`)
  }
  return [...lines, ...recovery.map(one => renderRecovery(one, paint))].join('')
}

/** Whether everything that is wrong with a backup is what it stands on. */
function isConsequence({ cause, findings }: VerifiedBackup): boolean {
  return cause !== undefined && findings.every(({ part }) => part === 'chain')
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
  for (const [part, problems] of byPart(result.findings)) {
    for (const problem of problems.slice(0, SHOWN)) lines.push(`  ${printable(part)}: ${printable(problem)}`)
    if (problems.length > SHOWN) lines.push(`  ${printable(part)}: and ${problems.length - SHOWN} more`)
  }
  const others = result.affects.filter(id => id !== result.id)
  const what = isWalResult(result) ? 'cannot be rolled forward past it' : 'cannot be restored either'
  if (others.length > 0) lines.push(`  ${what}: ${firstFew(others.map(id => printable(id)))}`)
  return lines.map(line => `${line}\n`).join('')
}

function byPart(findings: VerifiedBackup['findings']): Map<string, string[]> {
  const parts = new Map<string, string[]>()
  for (const { part, problem } of findings) {
    const known = parts.get(part)
    if (known === undefined) parts.set(part, [problem])
    else known.push(problem)
  }
  return parts
}

/** Whether a result is of archived WAL (`wal/SYSTEM/TIMELINE`): it cuts windows, and takes no backup down with it. */
export function isWalResult({ id }: Pick<VerifiedBackup, 'id'>): boolean {
  return id.startsWith('wal/')
}
