import { describe, expect, it } from 'vitest'
import { explainFailure } from '../../../src/sources/postgres/explain.js'

const attempt = { what: 'asking the server', account: null }
const account = { name: 'postgres', uid: 101, gid: 104, group: 'postgres', home: '/var/lib/postgresql', listed: true }

describe('a failure of PostgreSQL’s programs', () => {
  // Words of several versions: 13 said "could not connect to server", 16 "permission denied to start WAL sender".
  it.each([
    [
      'server_unreachable',
      'psql: error: could not connect to server: Connection refused\n\tIs the server running on host "db" and accepting\n\tTCP/IP connections on port 5432?',
    ],
    [
      'server_unreachable',
      'psql: error: connection to server on socket "/run/.s.PGSQL.5432" failed: No such file or directory',
    ],
    ['server_unreachable', 'psql: error: could not translate host name "db" to address: Name or service not known'],
    ['server_unreachable', 'psql: error: connection to server at "10.0.0.1", port 5432 failed: timeout expired'],
    ['server_not_ready', 'psql: error: FATAL:  the database system is starting up'],
    ['authentication_failed', 'psql: error: FATAL:  Peer authentication failed for user "nexus"'],
    ['role_lacks_replication', 'FATAL:  must be superuser or replication role to start walsender'],
    [
      'role_lacks_replication',
      'FATAL:  permission denied to start WAL sender\nDETAIL:  Only roles with the REPLICATION attribute may start a WAL sender process.',
    ],
    ...[
      'could not open certificate file "/root/c.crt": Permission denied',
      'could not read root certificate file "/root/ca.crt": No such file or directory',
      'root certificate file "/root/.postgresql/root.crt" does not exist\nEither provide the file or change sslmode',
      'could not load private key file "/root/c.key": Permission denied',
      'certificate present, but not private key file "/root/c.key"',
      'private key file "/root/c.key" must be owned by the current user or root',
      'private key file "/root/c.key" has group or world access; file must have permissions u=rw (0600) or less',
      'FATAL:  connection requires a valid client certificate',
    ].map(said => [
      'client_file_unusable',
      `psql: error: connection to server at "db" (10.0.0.1), port 5432 failed: ${said}`,
    ]),
    ['connections_exhausted', 'FATAL:  sorry, too many clients already'],
    [
      'wal_removed',
      'pg_basebackup: error: could not get write-ahead log end position from server: ERROR:  requested WAL segment 000000010000000000000002 has already been removed',
    ],
    ['promoted_meanwhile', 'ERROR:  the standby was promoted during online backup'],
    ['tablespace_added', 'pg_basebackup: error: can only write single tablespace to stdout, database has 2'],
    [
      'lost_and_found',
      'pg_basebackup: error: could not initiate base backup: ERROR:  could not open directory "./lost+found": Permission denied',
    ],
    ['file_unreadable', 'ERROR:  could not open file "./base/5/note": Permission denied'],
    ['disk_full', 'pg_basebackup: error: could not write to file "base.tar": No space left on device'],
    ['postgres_failed', 'psql: エラー: 接続できません'],
  ])('is known as %s', (code, stderr) => {
    const error = explainFailure(stderr, attempt)
    expect(error.code).toBe(code)
    expect(error.hint).toBeTruthy()
    expect(error.message).not.toMatch(/[\n\t]/)
  })

  it('names the directory in commands where it is known', () => {
    const stderr = 'ERROR:  could not open directory "./lost+found": Permission denied'
    expect(explainFailure(stderr, { ...attempt, directory: "/srv/it's" }).hint).toContain(
      `chown -R --reference='/srv/it'\\''s/PG_VERSION' '/srv/it'\\''s/lost+found'`,
    )
    expect(explainFailure(stderr, attempt).hint).toContain('DATA_DIRECTORY/lost+found')
  })

  it('names the user it ran as where that matters', () => {
    const as = { ...attempt, account }
    expect(explainFailure('FATAL:  Peer authentication failed for user "nexus"', as).hint).toContain(
      'asked as postgres',
    )
    const noPassword = 'connection to server failed: fe_sendauth: no password supplied'
    expect(explainFailure(noPassword, as).hint).toContain('~/.pgpass of root or of postgres')
    const open =
      'WARNING: password file "/it\'s" has group or world access; permissions should be u=rw (0600) or less\n'
    expect(explainFailure(open + noPassword, as).hint).toContain(`chmod 600 '/it'\\''s'`)
  })

  it('leaves progress and warnings out of the message, and control characters', () => {
    const stderr =
      'waiting\n 3546/26560 kB (13%), 0/2 tablespaces\nWARNING:  nothing much\npg_basebackup: error: odd \u001b[31mthing\n'
    expect(explainFailure(stderr, attempt).message).toBe(
      'asking the server failed: waiting pg_basebackup: error: odd [31mthing',
    )
  })
})
