import { readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { connectionParameter } from './connection.js'

/**
 * What the settings of a source say that it is for, where that is not the server of a data directory: another data
 * directory, or a socket with another port than this server listens on. Null where nothing speaks against it. Of a
 * server behind a network or a service file nothing can be told here.
 */
export function otherServer(
  { dataDirectory, connection }: { dataDirectory: string | null; connection: string },
  directory: string,
): string | null {
  if (dataDirectory !== null)
    return isSamePlace(dataDirectory, directory) ? null : `the data directory ${dataDirectory}`
  const host = connectionParameter(connection, 'host')
  const isSocket = host?.startsWith('/') === true && !host.includes(',')
  if (!isSocket || ['hostaddr', 'service'].some(name => connectionParameter(connection, name) !== undefined))
    return null
  const port = connectionParameter(connection, 'port') ?? '5432'
  const own = portOf(directory)
  return own === undefined || own === port ? null : `the server on port ${port}`
}

/** Whether two paths lead to the same directory. */
export function isSamePlace(one: string | null, another: string): boolean {
  try {
    return one !== null && realpathSync(one) === realpathSync(another)
  } catch {
    return false
  }
}

/** The fourth line of a running server's pid file (PostgreSQL pidfile.h). */
function portOf(directory: string): string | undefined {
  try {
    return /^\d+$/.exec(readFileSync(join(directory, 'postmaster.pid'), 'utf8').split('\n')[3] ?? '')?.[0]
  } catch {
    return undefined
  }
}
