import { NexusError } from '../../errors.js'
import type { Account } from './run-as.js'

/** What is known of the attempt that failed. */
export interface Attempt {
  /** What was to be done, as the message says it: `asking the server`. */
  what: string
  /** As whom the program ran; null for as we are. */
  account: Account | null
  /** The cluster's data directory, on the server's machine, where it is known. */
  directory?: string | undefined
}

interface Known {
  pattern: RegExp
  code: string
  hint: (match: RegExpExecArray, attempt: Attempt) => string
}

/**
 * Words of libpq, PostgreSQL's programs and the server by which a failure is known. The programs are made to speak
 * English; the server's own words follow its lc_messages, and what is not recognised is passed on as it is.
 */
const known: readonly Known[] = [
  {
    pattern: /permission denied to start WAL sender|must be superuser or replication role to start walsender/i,
    code: 'role_lacks_replication',
    hint: () => 'as a superuser: ALTER ROLE <the connection’s user> REPLICATION',
  },
  {
    pattern: /no pg_hba\.conf entry for replication connection/,
    code: 'authentication_failed',
    hint: () =>
      'add a line for it to pg_hba.conf: local replication <user> peer (or host … scram-sha-256), then reload',
  },
  {
    pattern: /no pg_hba\.conf entry|pg_hba\.conf rejects/,
    code: 'authentication_failed',
    hint: () => 'add a line for this user to pg_hba.conf, then reload the server',
  },
  {
    pattern: /(?:Peer|Ident) authentication failed/,
    code: 'authentication_failed',
    hint: (_, { account }) =>
      `the server wants the system’s user to be the role’s: ${account === null ? 'run as that user or as root' : `it was asked as ${account.name}`}; set user=… in the connection, or map it in pg_ident.conf`,
  },
  {
    // libpq passes over such a file with a warning.
    pattern:
      /password file "([^"]*)" has group or world access(?=[\s\S]*(?:password authentication failed|no password supplied))/,
    code: 'authentication_failed',
    hint: ([, path = '']) =>
      `others can read the password file, so it is not used: chmod 600 '${path.replaceAll("'", `'\\''`)}'`,
  },
  {
    pattern: /password authentication failed|no password supplied/,
    code: 'authentication_failed',
    hint: (_, { account }) =>
      `put the password into ${account === null ? '~/.pgpass' : `~/.pgpass of root or of ${account.name} (both are tried)`} or the file that PGPASSFILE names, mode 0600; database “replication” needs a line too`,
  },
  {
    pattern:
      /root certificate file "[^"]*" does not exist|could not (?:load|read|open|get|stat) [^\n]*(?:private key|certificate|CRL)|private key file [^\n]* (?:has group or world access|must be owned)|certificate (?:present, but not|does not match) [^\n]*private key|connection requires a valid client certificate|certificate authentication failed/,
    code: 'client_file_unusable',
    hint: (_, { account }) =>
      `let ${account === null ? 'the user that runs this' : `root or ${account.name} (both are tried)`} read the files that sslcert, sslkey and sslrootcert name; the key belongs to that user with mode 0600, or to root with 0640`,
  },
  {
    pattern: /role "([^"]*)" does not exist/,
    code: 'authentication_failed',
    hint: ([, role]) => `set user=… in the connection, or create the role ${role}`,
  },
  {
    pattern: /database "([^"]*)" does not exist/,
    code: 'database_missing',
    hint: () => 'set dbname=… in the connection to a database that exists, for example dbname=postgres',
  },
  {
    pattern: /exceeds max_wal_senders|requested standby connections/,
    code: 'wal_senders_exhausted',
    hint: () =>
      'a backup needs two: raise max_wal_senders, or end one that is not needed (SELECT * FROM pg_stat_replication)',
  },
  {
    pattern: /all replication slots are in use|max_replication_slots\W+0/,
    code: 'slots_exhausted',
    hint: () =>
      'a backup needs one: raise max_replication_slots, or drop one that is not needed (SELECT * FROM pg_replication_slots)',
  },
  {
    pattern: /too many clients already|remaining connection slots|too many connections for role/,
    code: 'connections_exhausted',
    hint: () => 'run it again when there are fewer connections, or raise max_connections',
  },
  {
    pattern: /requested WAL segment \S+ has already been removed|could not find any WAL files|could not find WAL file/,
    code: 'wal_removed',
    hint: () => 'the server gave up WAL that the backup held: raise max_slot_wal_keep_size (or set it to -1)',
  },
  {
    pattern: /standby was promoted during online backup/,
    code: 'promoted_meanwhile',
    hint: () => 'run it again: the server is a primary now',
  },
  {
    pattern: /can only write single tablespace to stdout/,
    code: 'tablespace_added',
    hint: () => 'a tablespace was created just now: run it again',
  },
  {
    pattern: /could not open directory "(?:\.\/)?lost\+found"|"(?:\.\/)?lost\+found": Permission denied/,
    code: 'lost_and_found',
    hint: (_, { directory }) =>
      `lost+found makes the data directory the top of a file system, and only root may read it; give it to the server’s user, as root, fsck goes on using it: chown -R --reference=${inShell(directory, 'PG_VERSION')} ${inShell(directory, 'lost+found')}`,
  },
  {
    pattern: /could not (?:open|stat|read)(?: \w+)? "(\.\/[^"]*)": Permission denied/,
    code: 'file_unreadable',
    hint: ([, name = ''], { directory }) =>
      `the server’s user must be able to read everything in the data directory; see whose it is: ls -ld ${inShell(directory, name)}`,
  },
  {
    pattern: /No space left on device|Disk quota exceeded/,
    code: 'disk_full',
    hint: () =>
      'free space where the message says: on the server’s disks, or in /tmp of this machine, where the list of files of a cluster with tablespaces lies for a while',
  },
  {
    pattern: /definition of service "([^"]*)" not found|service file "[^"]*" not found/,
    code: 'service_missing',
    hint: () => 'name the service in ~/.pg_service.conf of the user it runs as, or set PGSERVICEFILE',
  },
  {
    pattern: /the database system is (?:starting up|shutting down|in recovery mode|not (?:yet )?accepting connections)/,
    code: 'server_not_ready',
    hint: () => 'run it again when the server accepts connections; its log says what it is doing',
  },
  {
    pattern:
      /Connection refused|Is the server running|No such file or directory|could not translate host name|timeout expired|No route to host|Network is unreachable|Resource temporarily unavailable|server closed the connection|terminating connection/,
    code: 'server_unreachable',
    hint: () => 'is the server running? systemctl status postgresql; otherwise correct the source’s connection',
  },
]

/** The error for a PostgreSQL program that failed, from what it wrote to stderr. */
export function explainFailure(stderr: string, attempt: Attempt): NexusError {
  const said = summary(stderr)
  for (const { pattern, code, hint } of known) {
    const match = pattern.exec(stderr)
    if (match !== null)
      return new NexusError('failed', code, `${attempt.what} failed: ${said}`, { hint: hint(match, attempt) })
  }
  return new NexusError('failed', 'postgres_failed', `${attempt.what} failed: ${said}`, {
    hint: 'the server’s log may say more',
  })
}

/** A file of the data directory as a shell takes it; the server names it relative to that, with `./` or without. */
function inShell(directory: string | undefined, name: string): string {
  const path = name.startsWith('/') ? name : `${directory ?? 'DATA_DIRECTORY'}/${name.replace(/^\.\//, '')}`
  return /^[\w/.+-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`
}

/** Warnings apart, in one line; no control characters reach the operator's terminal. */
function summary(stderr: string): string {
  const lines = stderr.split('\n').filter(line => line.trim() !== '' && !/^(?:WARNING|NOTICE):|^\s*\d+\//.test(line))
  const text = (lines.length === 0 ? stderr : lines.slice(-6).join(' ')).replace(/[\p{C}\s]+/gu, ' ').trim()
  return text === '' ? 'it ended without a word' : text.slice(0, 600)
}
