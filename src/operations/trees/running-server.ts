import { readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { isAlive } from '../restoring-process.js'

/**
 * Process id of the PostgreSQL server that runs in a directory, or null. A server that was killed leaves its
 * postmaster.pid, and its number may be another process's by now: a server's working directory is its data directory
 * (PostgreSQL miscinit.c, ChangeToDataDir). Where that cannot be seen, a process of that number is taken for the server.
 *
 * @param directory real path
 */
export function runningServer(directory: string): number | null {
  const pid = Math.abs(Number.parseInt(firstLine(join(directory, 'postmaster.pid')), 10))
  if (!(pid > 0) || !isAlive(pid)) return null
  const works = workingDirectory(pid)
  return works === null || works === directory ? pid : null
}

function firstLine(file: string): string {
  try {
    return readFileSync(file, 'utf8').split('\n', 1)[0] ?? ''
  } catch {
    // None there, or none that we may read: then the directory itself cannot be replaced by us either.
    return ''
  }
}

function workingDirectory(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    return null
  }
}
