import * as v from 'valibot'
import { connectionProblem } from './connection.js'
import { nestedPaths } from './paths.js'
import { absolutePath, chainSchema, clusterKeepSchema, duration, keepSchema, mapping, sizeWithin } from './schema.js'

const unitMessage = 'must be the name of a systemd unit such as itsm.service'

const flag = v.optional(v.boolean('must be true or false'))

const hookMessage =
  'must be a list of an absolute path and arguments, or a mapping such as { command: [/usr/local/sbin/freeze], timeout: 10min }'

const hookCommand = v.pipe(
  v.array(
    v.pipe(
      v.string(hookMessage),
      v.maxLength(4096, hookMessage),
      v.check(word => !word.includes('\0'), hookMessage),
    ),
    hookMessage,
  ),
  v.minLength(1, hookMessage),
  v.maxLength(100, 'at most 100 arguments'),
  v.check(([program = '']) => program.startsWith('/'), 'the program must be an absolute path'),
)
const hookTimeout = v.pipe(duration, v.maxValue(24 * 3_600_000, 'at most 24h'))

const userMessage = 'must be the name of a user such as www-data'
/** As useradd(8) and directory services have them; never an option of the program that changes users. */
const hookUser = v.pipe(v.string(userMessage), v.regex(/^[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,254}\$?$/, userMessage))

/** A program and its arguments, perhaps with a time limit and a user. */
const hook = v.optional(
  v.union(
    [
      v.pipe(
        hookCommand,
        v.transform(command => ({ command, timeout: undefined, user: undefined })),
      ),
      mapping({ command: hookCommand, timeout: v.optional(hookTimeout), user: v.optional(hookUser) }, hookMessage),
    ],
    hookMessage,
  ),
)

const common = {
  before: hook,
  after: hook,

  repository: v.optional(v.string('must be the name of a repository')),
  service: v.optional(
    v.pipe(v.string(unitMessage), v.regex(/^[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]{0,254}$/, unitMessage)),
  ),
  chain: v.optional(chainSchema),
  digest: v.optional(v.picklist(['xxh3-128', 'sha256-128'], 'must be xxh3-128 or sha256-128')),
}

const copyMessage =
  'must be the name of a repository, or a mapping such as { repository: offsite, keep: { monthly: 36 } }'

/** Repositories that backups are copied to: a name, or a name with a retention of its own. */
function copiesWith<const K extends v.GenericSchema>(keep: K) {
  const named = v.pipe(
    v.string(copyMessage),
    v.transform(repository => ({ repository, keep: undefined })),
  )
  const withPolicy = mapping({ repository: v.string(copyMessage), keep: v.optional(keep) }, copyMessage)
  return v.optional(
    v.pipe(v.array(v.union([named, withPolicy], copyMessage), 'must be a list of repositories'), v.maxLength(20)),
  )
}

const checks = v.optional(
  v.pipe(
    v.array(v.pipe(v.string('must be an SQL query'), v.trim(), v.minLength(1, 'must not be empty'), v.maxLength(4096))),
    v.maxLength(1000, 'at most 1000 queries'),
  ),
)

const sqliteSchema = mapping({
  kind: v.literal('sqlite'),
  path: absolutePath,
  allow_other_names: flag,
  check: v.optional(v.picklist(['auto', 'integrity', 'quick', 'none'], 'must be auto, integrity, quick or none')),
  checks,
  stop_service: flag,
  keep: v.optional(keepSchema),
  copies: copiesWith(keepSchema),
  ...common,
})

const connectionMessage = 'must be a connection string of libpq such as "host=/var/run/postgresql port=5432"'

const rateMessage = 'must be a rate a second from 32KiB to 1GiB, such as 50MB'
/** What pg_basebackup takes for `--max-rate`. */
const rate = sizeWithin({ least: 32 * 1024, most: 1024 ** 3 }, ['kB', 'KiB', 'MB', 'MiB', 'GB', 'GiB'], rateMessage)

const postgresSchema = mapping({
  kind: v.literal('postgres'),
  connection: v.optional(
    v.pipe(
      v.string(connectionMessage),
      v.maxLength(4096, connectionMessage),
      v.check(
        text => connectionProblem(text) === undefined,
        issue => connectionProblem(issue.input) ?? connectionMessage,
      ),
    ),
  ),
  data_directory: v.optional(absolutePath),
  bin_directory: v.optional(absolutePath),
  max_rate: v.optional(rate),
  checkpoint: v.optional(v.picklist(['fast', 'spread'], 'must be fast or spread')),
  server_logs: flag,
  wal_copies: v.optional(v.picklist(['sync', 'async'], 'must be sync or async')),
  checks,
  stop_service: v.optional(v.never('a cluster is backed up while its server runs')),
  keep: v.optional(clusterKeepSchema),
  copies: copiesWith(clusterKeepSchema),
  ...common,
})

const patternMessage = 'must be a pattern such as "*.tmp"'
const patterns = v.optional(
  v.pipe(
    v.array(
      v.pipe(
        v.string(patternMessage),
        v.minLength(1, 'must not be empty'),
        v.maxLength(4096, patternMessage),
        v.check(pattern => !pattern.includes('\0'), patternMessage),
        v.check(
          pattern =>
            !pattern
              .replace(/^\/|\/$/g, '')
              .split('/')
              .some(part => ['', '.', '..'].includes(part)),
          'must be a pattern without empty parts, . and ..',
        ),
      ),
      'must be a list of patterns',
    ),
    v.maxLength(1000, 'at most 1000 patterns'),
  ),
)

const nameMessage = 'must be the name of a file such as .nobackup, without a slash'
const markerNames = v.optional(
  v.pipe(
    v.array(
      v.pipe(
        v.string(nameMessage),
        v.check(
          name => !['', '.', '..'].includes(name) && !/[/\0]/.test(name) && Buffer.byteLength(name) <= 255,
          nameMessage,
        ),
      ),
      'must be a list of names',
    ),
    v.maxLength(100, 'at most 100 names'),
  ),
)

const pathsMessage = 'must be a list of absolute paths'

const filesSchema = mapping({
  kind: v.literal('files'),
  paths: v.pipe(
    v.array(absolutePath, pathsMessage),
    v.minLength(1, pathsMessage),
    v.maxLength(1000, 'at most 1000 paths'),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return
      for (const { at, inner, outer } of nestedPaths(dataset.value)) {
        const path = { type: 'array', origin: 'value', input: dataset.value, key: at, value: inner } as const
        const message = inner === outer ? `'${inner}' stands twice` : `'${inner}' lies inside '${outer}'`
        addIssue({ message, path: [path] })
      }
    }),
  ),
  exclude: patterns,
  include: patterns,
  one_file_system: flag,
  exclude_caches: flag,
  exclude_if_present: markerNames,
  sqlite: flag,
  checks: v.optional(v.never('files have no SQL to check them with')),
  stop_service: flag,
  keep: v.optional(keepSchema),
  copies: copiesWith(keepSchema),
  ...common,
})

/** What may stand below a source of each kind. */
export const sourceSchemas = { sqlite: sqliteSchema, postgres: postgresSchema, files: filesSchema } as const

/** A source as it was written, validated. */
export type SourceDocument = v.InferOutput<(typeof sourceSchemas)[keyof typeof sourceSchemas]>
