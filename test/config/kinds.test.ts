import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { describeSettings } from '../../src/config/describe.js'
import { load, refusal } from './loading.js'

const head = 'repositories: { local: { path: /r } }\nsources:\n'

function messageFor(source: string): string {
  return refusal(`${head}  a: { ${source} }\n`).message
}

const chain = { maxAge: 604_800_000, maxLength: 100, maxRatio: 0.5 }
const common = {
  repository: { name: 'local', path: '/r' },
  copies: [],
  service: null,
  chain,
  digestAlgorithm: 'xxh3-128',
}

describe('a source of kind postgres', () => {
  it('needs nothing but its kind: libpq knows the rest', () => {
    expect(load(`${head}  consulting: { kind: postgres }\n`).settings.sources).toEqual([
      {
        ...common,
        kind: 'postgres',
        name: 'consulting',
        connection: '',
        dataDirectory: null,
        binDirectory: null,
        checks: [],
        keep: {},
      },
    ])
  })

  it('is understood with every key, and means the same when it is shown and read again', () => {
    const first = load(
      `${head}  consulting:
    kind: postgres
    connection: host=/var/run/postgresql port=5432 user=nexus_backup
    data_directory: /var/lib/postgresql/15/main/
    bin_directory: /usr/lib/postgresql/15/bin
    max_rate: 1500kB
    checkpoint: spread
    server_logs: true
    repository: local
    checks: ["SELECT count(*) > 0 FROM engagements"]
    service: postgresql@15-main.service
    keep: { daily: 14, monthly: 12, within: 36h, pitr: 2w }
    chain: { max_age: 3d }
    digest: sha256-128
`,
      { state: '/s' },
    )
    expect(first.settings.sources[0]).toEqual({
      ...common,
      kind: 'postgres',
      name: 'consulting',
      connection: 'host=/var/run/postgresql port=5432 user=nexus_backup',
      dataDirectory: '/var/lib/postgresql/15/main',
      binDirectory: '/usr/lib/postgresql/15/bin',
      maxRate: 1_500_000,
      checkpoint: 'spread',
      serverLogs: true,
      checks: ['SELECT count(*) > 0 FROM engagements'],
      service: 'postgresql@15-main.service',
      keep: { daily: 14, monthly: 12, within: 129_600_000, pitr: 1_209_600_000 },
      chain: { ...chain, maxAge: 259_200_000 },
      digestAlgorithm: 'sha256-128',
    })
    const again = load(stringify(describeSettings(first.settings)))
    expect({ ...again.settings, file: null }).toEqual({ ...first.settings, file: null })
  })

  it.each([
    'password=hunter2',
    'host=a  PASSWORD = hunter2',
    "host='a b' password='hunter2'",
    "host='a'password=hunter2",
    'postgresql://bob:hunter2@db/x',
    'postgres://u?:hunter2@db/x',
    'postgresql://bob@db/x?sslmode=require&password=hunter2',
    'postgresql://bob@db/x?%70assword=hunter2',
    'sslpassword=hunter2',
  ])('with a secret in its connection is refused without repeating it: %j', connection => {
    const message = messageFor(`kind: postgres, connection: ${JSON.stringify(connection)}`)
    expect(message).toMatch(
      /line 3: sources\.a\.connection: must not hold a (ssl)?password: .*~\/\.pgpass.*passfile=FILE/,
    )
    expect(message).not.toContain('hunter2')
  })

  it.each([
    'host=/var/run/postgresql port=5432',
    "host=a dbname='it''s' user=x".replace("''", "\\'"),
    'host= /run',
    'passfile=/etc/nexus-backup/pgpass host=db requirepassword=x',
    'service=consulting',
    'postgresql://bob@db:5432/x?sslmode=require',
    'postgresql:///x?host=/run',
    "application_name='password=x'",
    'host=\n /run\n user=bob',
    '',
  ])('is taken with the connection %j', connection => {
    const [source] = load(`${head}  a: { kind: postgres, connection: ${JSON.stringify(connection)} }\n`).settings
      .sources
    expect(source).toMatchObject({ connection })
  })

  it.each([
    'consulting',
    "host='open",
    'host=a port',
    "='x'",
    'postgresql://h/x?%zz=1',
    'host=a\u0000',
  ])('is refused with %j, which libpq would not understand', connection => {
    const message = messageFor(`kind: postgres, connection: ${JSON.stringify(connection)}`)
    expect(message).toContain('is not a connection string of libpq; write one such as')
  })

  it('never takes a connection in which libpq would find a password', () => {
    const word = fc.stringMatching(/^[a-z/.]{1,6}$/)
    const blank = fc.constantFrom('', ' ', '\t', '\n')
    const value = fc.oneof(
      word,
      fc.stringMatching(/^[a-z' =]{0,6}$/).map(text => `'${text.replaceAll("'", "\\'")}'`),
    )
    const pair = fc.tuple(blank, fc.constantFrom('host', 'user', 'password'), blank, blank, value)
    fc.assert(
      fc.property(fc.array(pair, { minLength: 1, maxLength: 4 }), pairs => {
        const text = pairs.map(([before, key, left, right, of]) => ` ${before}${key}${left}=${right}${of}`).join('')
        const holds = pairs.some(([, key]) => key === 'password')
        const source = `${head}  a: { kind: postgres, connection: ${JSON.stringify(text)} }\n`
        if (holds) expect(refusal(source).message).toContain('must not hold a password')
        else expect(load(source).settings.sources).toHaveLength(1)
      }),
      { numRuns: 100 },
    )
  })

  it.each([
    ['kind: postgres, path: /x', 'path: unknown key'],
    ['kind: postgres, data_directry: /x', "unknown key; did you mean 'data_directory'?"],
    ['kind: postgres, data_directory: main', 'data_directory: must be an absolute path'],
    ['kind: postgres, bin_directory: 15', 'bin_directory: must be an absolute path'],
    ['kind: postgres, max_rate: 31KiB', 'max_rate: must be a rate a second from 32KiB to 1GiB'],
    ['kind: postgres, max_rate: 2GiB', 'max_rate: must be a rate a second from 32KiB to 1GiB'],
    ['kind: postgres, max_rate: 100', 'max_rate: must be a rate a second from 32KiB to 1GiB'],
    ['kind: postgres, checkpoint: slow', 'checkpoint: must be fast or spread'],
    ['kind: postgres, server_logs: 1', 'server_logs: must be true or false'],
    ['kind: postgres, wal_copies: yes', 'wal_copies: must be sync or async'],
    ['kind: postgres, wal_copies: sync', 'wal_copies: needs copies to bring WAL to'],
    ['kind: postgres, keep: { pitr: forever }', "keep.pitr: 'forever' is not a duration"],
    ['kind: postgres, keep: { pirt: 3d }', "unknown key; did you mean 'pitr'?"],
    ['kind: postgres, connection: 5432', 'connection: must be a connection string'],
    [
      'kind: postgres-tables, tables: [users]',
      'kind postgres-tables is not in this version yet; this version protects: sqlite, postgres, files',
    ],
    ['kind: postgress', "unknown kind 'postgress'; did you mean 'postgres'?"],
  ])('is refused as { %s }', (source, message) => {
    expect(messageFor(source)).toContain(message)
  })
})

describe('a source of kind files', () => {
  it('is understood with every key, and means the same when it is shown and read again', () => {
    const first = load(
      `${head}  uploads:
    kind: files
    paths: [/opt/itsm/uploads/, /var/log/itsm]
    exclude: ["*.tmp", "cache/", "/opt/itsm/uploads/**/x"]
    include: ["keep.tmp"]
    one_file_system: true
    exclude_caches: true
    exclude_if_present: [.nobackup]
    sqlite: true
    stop_service: true
    before: [/usr/local/sbin/freeze, itsm]
    after: { command: [/usr/local/sbin/thaw], timeout: 90s, user: www-data }
    service: itsm.service
    keep: { last: 3 }
`,
      { state: '/s' },
    )
    expect(first.settings.sources).toEqual([
      {
        ...common,
        kind: 'files',
        name: 'uploads',
        paths: ['/opt/itsm/uploads', '/var/log/itsm'],
        exclude: ['*.tmp', 'cache/', '/opt/itsm/uploads/**/x'],
        include: ['keep.tmp'],
        oneFileSystem: true,
        excludeCaches: true,
        excludeIfPresent: ['.nobackup'],
        sqlite: true,
        stopService: true,
        hooks: {
          before: { command: ['/usr/local/sbin/freeze', 'itsm'], timeout: 300_000 },
          after: { command: ['/usr/local/sbin/thaw'], timeout: 90_000, user: 'www-data' },
          file: expect.any(String),
        },
        checks: [],
        service: 'itsm.service',
        keep: { last: 3 },
      },
    ])
    const again = load(stringify(describeSettings(first.settings)))
    const [hooks, written] = [again, first].map(({ settings }) => settings.sources[0]?.hooks)
    expect({ ...hooks, file: null }).toEqual({ ...written, file: null })
    const withoutFile = ({ settings }: typeof first) => {
      return { ...settings, file: null, sources: settings.sources.map(source => ({ ...source, hooks: null })) }
    }
    expect(withoutFile(again)).toEqual(withoutFile(first))
  })

  it.each([
    ['kind: files', 'paths: is missing'],
    ['kind: files, path: /x', "unknown key; did you mean 'paths'?"],
    ['kind: files, paths: []', 'paths: must be a list of absolute paths'],
    ['kind: files, paths: /x', 'paths: must be a list of absolute paths'],
    ['kind: files, paths: [x]', 'paths.0: must be an absolute path'],
    ['kind: files, paths: [/a, /a/b]', "paths.1: '/a/b' lies inside '/a'"],
    ['kind: files, paths: [/a/b, /a]', "paths.0: '/a/b' lies inside '/a'"],
    ['kind: files, paths: [/a, /]', "paths.0: '/a' lies inside '/'"],
    ['kind: files, paths: [/a, /b/../a/]', "paths.1: '/a' stands twice"],
    ['kind: files, paths: [/a], checks: ["SELECT 1"]', 'checks: files have no SQL'],
    ['kind: files, paths: [/a], keep: { pitr: 14d }', 'keep.pitr: only sources of kind postgres have a log to keep'],
    ['kind: files, paths: [/a], exclude: "*.tmp"', 'exclude: must be a list of patterns'],
    ['kind: files, paths: [/a], exclude: [""]', 'exclude.0: must not be empty'],
    ['kind: files, paths: [/a], exclude: ["a/../b"]', 'exclude.0: must be a pattern without empty parts'],
    ['kind: files, paths: [/a], include: ["/"]', 'include.0: must be a pattern without empty parts'],
    ['kind: files, paths: [/a], before: /bin/true', 'before: must be a list of an absolute path and arguments'],
    ['kind: files, paths: [/a], before: []', 'before: must be a list of an absolute path and arguments'],
    ['kind: files, paths: [/a], before: [true]', 'before: must be a list of an absolute path and arguments'],
    ['kind: files, paths: [/a], before: [freeze]', 'before: must be a list of an absolute path and arguments'],
    ['kind: files, paths: [/a], after: { command: [freeze] }', 'the program must be an absolute path'],
    ['kind: files, paths: [/a], after: { command: [/b], user: -g }', 'must be the name of a user'],
    ["kind: files, paths: [/a], after: { command: [/b], user: 'a b' }", 'must be the name of a user'],
    ['kind: files, paths: [/a], after: { command: [/b], user: 33 }', 'after: must be a list of an absolute path'],
    ['kind: files, paths: [/a], after: { command: [/x], timeout: 25h }', 'at most 24h'],
    ['kind: files, paths: [/a], after: { command: [/x], shell: true }', 'after: must be a list of an absolute path'],
    ['kind: files, paths: [/a], stop_service: true', 'stop_service: needs a service to stop'],
    ['kind: postgres, stop_service: true, service: a', 'stop_service: a cluster is backed up while its server runs'],
    ['kind: files, paths: [/a], one_file_system: yes', 'one_file_system: must be true or false'],
    ['kind: files, paths: [/a], exclude_if_present: .nobackup', 'exclude_if_present: must be a list of names'],
    ['kind: files, paths: [/a], exclude_if_present: [a/b]', 'exclude_if_present.0: must be the name of a file'],
    ['kind: files, paths: [/a], exclude_if_present: [".."]', 'exclude_if_present.0: must be the name of a file'],
    ['kind: files, paths: [/a], connection: "host=x"', 'connection: unknown key'],
  ])('is refused as { %s }', (source, message) => {
    expect(messageFor(source)).toContain(message)
  })

  it('may have paths that only begin alike', () => {
    const [source] = load(`${head}  a: { kind: files, paths: [/a, /ab, /a-b] }\n`).settings.sources
    expect(source).toMatchObject({ paths: ['/a', '/ab', '/a-b'] })
  })
})

it('mistakes of several kinds are reported together, each with its line', () => {
  const error = refusal(`repositories: { local: { path: /r } }
sources:
  pg:
    kind: postgres
    connection: "password=x"
    data_directory: here
  up:
    kind: files
    paths:
      - /a
      - /a/b
    checks: []
`)
  expect(error.message.split('\n').slice(1)).toEqual([
    expect.stringMatching(/^ {2}line 5: sources\.pg\.connection: must not hold a password/),
    '  line 6: sources.pg.data_directory: must be an absolute path',
    "  line 11: sources.up.paths.1: '/a/b' lies inside '/a'",
    expect.stringMatching(/^ {2}line 12: sources\.up\.checks: files have no SQL/),
  ])
})
