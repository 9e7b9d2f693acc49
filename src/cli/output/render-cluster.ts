import type {
  ClusterRestorePlan,
  NamedCommit,
  ReachedTarget,
  RestoreClusterResult,
} from '../../operations/pitr/requests.js'
import type { Paint } from './colour.js'
import { counted, exactTime, humanBytes, humanTime, printable } from './format.js'
import { renderRestore } from './render-restore.js'

/** What the restore of a cluster is going to do; its notes are warned of when it is done. */
export function renderClusterPlan(plan: ClusterRestorePlan, zone: string): string {
  const { wal } = plan
  const segments =
    wal === null ? 'nothing of the archive' : `${counted(wal.segments, 'segment')}, ${wal.from} to ${wal.to}`
  const lines = [
    `${plan.source}: restore ${plan.id}, captured at ${humanTime(plan.captured_at, zone)}, ${humanBytes(plan.bytes)}`,
    `  from ${counted(plan.chain.length, 'backup')}: ${plan.chain.join(', ')}`,
    `  to ${printable(plan.target)}`,
    ...plan.tablespaces.map(({ oid, from, to }) => `  tablespace ${oid}: ${printable(from)} to ${printable(to)}`),
    ...(plan.waldir === null ? [] : [`  pg_wal to ${printable(plan.waldir)}`]),
    `  to be recovered ${printable(plan.until)}`,
    ...commitLines(plan, zone).map(line => `  ${line}`),
    `  log: timeline ${plan.timeline}, ${segments}`,
  ]
  return lines.map(line => `${line}\n`).join('')
}

/** What was restored, how far the server came, and what to do with it. */
export function renderClusterRestore(result: RestoreClusterResult, how: { zone: string; paint: Paint }): string {
  const { reached, server, next, prepared } = result
  const lines = [
    ...(reached === null ? [] : [reachedLine(reached, how.zone)]),
    ...(server === null
      ? []
      : [
          `the server runs, its log is ${printable(server.log)}`,
          `to connect: ${printable(server.connect)}`,
          `to stop it: ${printable(server.stop)}`,
        ]),
    ...(next === null ? [] : [`next: ${printable(next)}`]),
    ...(prepared === null
      ? []
      : [
          `its socket is in ${prepared.socket_directory}, port ${prepared.port}`,
          `to stop it: ${printable(prepared.stop)}`,
        ]),
  ]
  return `${renderRestore(result, how)}${lines.map(line => `  ${line}\n`).join('')}`
}

function commitLines({ last_commit, next_commit }: ClusterRestorePlan, zone: string): string[] {
  const shown = ({ xid, lsn, at }: NamedCommit) => `transaction ${xid} of ${exactTime(at, zone)} (${at}) at ${lsn}`
  return [
    ...(last_commit === null ? [] : [`the last commit: ${shown(last_commit)}`]),
    ...(next_commit === null ? [] : [`the next one, left out: ${shown(next_commit)}`]),
  ]
}

function reachedLine({ at, lsn, timeline, paused }: ReachedTarget, zone: string): string {
  const last = at === null ? 'no transaction was replayed' : `the last transaction is of ${exactTime(at, zone)} (${at})`
  return `${last}; position ${lsn}, timeline ${timeline}${paused ? ', paused and open for reading' : ''}`
}
