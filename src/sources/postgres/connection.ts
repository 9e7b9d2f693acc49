import { join } from 'node:path'

/** Where libpq looks for a server's socket when nothing says otherwise: Debian's and PGDG's builds, then the original. */
const DEFAULT_SOCKETS = ['/var/run/postgresql', '/tmp']

/**
 * The value of a parameter in a libpq connection string, either form: `host=/run port=5432` or a `postgresql://` URI;
 * undefined when it is not there. (PostgreSQL documentation, "Connection Strings".)
 */
export function connectionParameter(connection: string, name: string): string | undefined {
  return isUri(connection) ? fromUri(connection, name) : fromKeywords(connection, name)
}

/** The connection string with one more parameter; it must not be in there already. @param value needs no quoting */
export function withParameter(connection: string, name: string, value: string): string {
  if (!isUri(connection)) return `${connection} ${name}=${value}`.trim()
  return `${connection}${connection.includes('?') ? '&' : '?'}${name}=${value}`
}

/** The connection string for another database of the same server: of two values libpq takes the last. */
export function withDatabase(connection: string, database: string): string {
  if (isUri(connection)) return withParameter(connection, 'dbname', encodeURIComponent(database))
  return withParameter(connection, 'dbname', `'${database.replace(/[\\']/g, '\\$&')}'`)
}

/**
 * Paths of the Unix socket that a connection would use, first guess first; none for a server that is reached over the
 * network or through a service file, of which only libpq knows what it says.
 */
export function socketPaths(connection: string, env: Record<string, string | undefined>): string[] {
  const given = (name: string, variable: string) => connectionParameter(connection, name) ?? env[variable]
  if (given('service', 'PGSERVICE') !== undefined || given('hostaddr', 'PGHOSTADDR') !== undefined) return []
  const host = given('host', 'PGHOST')?.split(',')[0] ?? ''
  const port = (given('port', 'PGPORT') ?? '5432').split(',')[0]
  const directories = host === '' ? DEFAULT_SOCKETS : host.startsWith('/') ? [host] : []
  return directories.map(directory => `${directory}/.s.PGSQL.${port}`)
}

/** Parameters of libpq that name a file which may be for one user alone, with their variables. */
const FILES: Readonly<Record<string, string>> = {
  passfile: 'PGPASSFILE',
  servicefile: 'PGSERVICEFILE',
  sslcert: 'PGSSLCERT',
  sslkey: 'PGSSLKEY',
  sslrootcert: 'PGSSLROOTCERT',
  sslcrl: 'PGSSLCRL',
  sslcrldir: 'PGSSLCRLDIR',
}

/** The files that a connection and its environment name for libpq, absolute ones only. */
export function namedFiles(connection: string, env: Record<string, string | undefined>): string[] {
  const named = Object.entries(FILES).map(([name, variable]) => connectionParameter(connection, name) ?? env[variable])
  const system = env.PGSYSCONFDIR === undefined ? undefined : join(env.PGSYSCONFDIR, 'pg_service.conf')
  return [...named, system].filter(path => path?.startsWith('/') === true) as string[]
}

function isUri(connection: string): boolean {
  return /^postgres(?:ql)?:\/\//.test(connection)
}

function fromUri(uri: string, name: string): string | undefined {
  const parts = /^postgres(?:ql)?:\/\/(?:[^@/?]*@)?([^/?]*)(?:\/[^?]*)?(?:\?(.*))?$/.exec(uri)
  const query = new URLSearchParams(parts?.[2] ?? '').get(name)
  if (query !== null) return query
  const [, host = '', port = ''] = /^(\[[^\]]*\]|[^:,]*)(?::(\d+))?/.exec(parts?.[1] ?? '') ?? []
  const value = name === 'host' ? decodeURIComponent(host) : name === 'port' ? port : ''
  return value === '' ? undefined : value
}

function fromKeywords(connection: string, name: string): string | undefined {
  const pair = /([A-Za-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s\\]|\\.)*))/g
  let found: string | undefined
  // The last one counts, as in libpq.
  for (const [, key, quoted, plain] of connection.matchAll(pair)) {
    if (key === name) found = (quoted ?? plain ?? '').replace(/\\(.)/g, '$1')
  }
  return found
}
