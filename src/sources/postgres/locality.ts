import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ClusterProbe } from './probe.js'

/**
 * Whether the server that answered runs on this machine: it was reached through a socket, or its data directory lies here
 * with the pid file of the very same start (its third line, PostgreSQL pidfile.h). A standby may have the same paths.
 */
export function runsHere({
  throughSocket,
  dataDirectory,
  startedAt,
}: Pick<ClusterProbe, 'throughSocket' | 'dataDirectory' | 'startedAt'>): boolean {
  if (throughSocket) return true
  try {
    const started = Number(readFileSync(join(dataDirectory, 'postmaster.pid'), 'utf8').split('\n')[2])
    // The file is written just before the server takes its own note of the time.
    return Math.abs(started - startedAt) <= 2
  } catch {
    return false
  }
}
