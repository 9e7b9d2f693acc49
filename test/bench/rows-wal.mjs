// The log of a PostgreSQL server: every segment that is ready, archived as the server's archiver does, one shell and one
// call after another, beside pgBackRest. The same for fetching them back as recovery does.
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { postgresPrograms, startBenchCluster } from './cluster.mjs'
import { contest } from './contest.mjs'
import { unmeasured } from './measure.mjs'
import { missingTool } from './tools.mjs'

const ours = 'nexus-backup pitr archive'
const done = 'pitr archive of a segment that is stored already'
const fetch = 'nexus-backup pitr fetch'
const floor = 'pgBackRest archive-push, asynchronous (zstd level 1)'
const getFloor = 'pgBackRest archive-get, asynchronous'

// Each restores the state in which nothing is archived and everything is ready.
const again = 'rm -rf "$PGDATA/pg_wal" && cp -a "$PLACE/wal" "$PGDATA/pg_wal"'
const fresh = `${again} && rm -rf "$PLACE/room" && cp -a "$PLACE/room.empty" "$PLACE/room"`
const pgbackrest =
  'pgbackrest --stanza=bench --repo1-path=$PLACE/room/pgbackrest --pg1-path=$PGDATA --lock-path=$PLACE/lock --log-level-file=off --log-level-console=error'
const synchronous = '--compress-type=zst --compress-level=1'
const push = '--archive-async --spool-path=$PLACE/room/spool --process-max=2'
const get = '--archive-async --spool-path=$PLACE/room/spool --process-max=2'
// As PostgreSQL calls it: the program's own first lines are the shell's.
const program = 'NEXUS_BACKUP_NODE=$NODE $PROGRAM --config $PLACE/config.yaml'

/** What PostgreSQL's archiver does (pgarch.c): a shell for each file that is ready, in order, until one fails. */
const archiver = command =>
  inData(`for ready in pg_wal/archive_status/*.ready; do
    name=$(basename "$ready" .ready)
    sh -c "${command} pg_wal/$name"
    mv "$ready" "pg_wal/archive_status/$name.done"
  done`)

/** What recovery does (xlogarchive.c): a shell for each segment, in order. */
const recovery = command =>
  inData(`for name in $(ls "$PLACE/wal" | grep -E "^[0-9A-F]{24}$" | head -n "$SEGMENTS"); do
    sh -c "${command('$name', 'pg_wal/RECOVERYXLOG')}"
    cmp -s pg_wal/RECOVERYXLOG "$PLACE/wal/$name"
  done`)

function inData(script) {
  return `cd / && $AS bash -euo pipefail -c 'cd "$PGDATA"; ${script}'`
}

export function walRows(settings) {
  const bin = postgresPrograms()
  if (bin === undefined) {
    return [{ title: 'WAL', floor, goals: [], rows: [{ name: 'WAL', missing: 'PostgreSQL not installed' }] }]
  }
  const { env: cluster, stop } = startBenchCluster(bin, 15)
  try {
    const env = { ...settings.env, ...cluster, NODE: process.execPath }
    const common = { ...settings, env, warm: [] }
    const segments = makeLog(common)
    const withSegments = { ...common, env: { ...env, SEGMENTS: String(segments) } }
    const without = missingTool(settings.tools, 'pgbackrest')
    return [
      archiveSection(withSegments, segments, without),
      fetchSection(withSegments, segments, without),
      doneSection(withSegments),
    ]
  } finally {
    stop()
  }
}

/** Makes a log of about half the bench's size that nobody has archived, and stops the server. */
function makeLog({ env, megabytes, say, tools }) {
  const scale = Math.max(2, Math.round(megabytes / 30))
  writeFileSync(
    join(env.PLACE, 'config.yaml'),
    [
      `state: ${env.PLACE}/state`,
      `repositories: { local: { path: ${env.PLACE}/room/ours } }`,
      `sources: { bench: { kind: postgres, connection: "${env.CONNECTION}" } }`,
      '',
    ].join('\n'),
    { mode: 0o644 },
  )
  const steps = [
    'cd / && $AS mkdir "$PLACE/room"',
    'cd / && $AS "$PGBIN/psql" -qc "ALTER SYSTEM SET archive_mode = on" -c "ALTER SYSTEM SET archive_command = \'false\'"',
    'cd / && $AS "$PGBIN/pg_ctl" restart -w -m fast -D "$PGDATA" -l "$PLACE/log"',
    `cd / && $AS "$PGBIN/pgbench" -i -q -s ${scale}`,
    'cd / && $AS "$PGBIN/pgbench" -n -c 4 -j 2 -t 5000',
    'cd / && $AS "$PGBIN/psql" -qc "SELECT pg_switch_wal()"',
    // The first backup makes the repository; the source is named, so that archiving claims it.
    `cd / && $AS bash -c "${program} create bench --init --type full"`,
    'cd / && $AS "$PGBIN/pg_ctl" stop -w -m immediate -D "$PGDATA"',
    'cp -a "$PGDATA/pg_wal" "$PLACE/wal" && rm -rf "$PLACE"/room/ours/bench/wal',
  ]
  if (tools.pgbackrest) steps.push(`cd / && $AS bash -c "${pgbackrest} --no-online stanza-create"`)
  steps.push('mv "$PLACE/room" "$PLACE/room.empty"')
  for (const step of steps) {
    say(`before the log is archived: ${step}`)
    unmeasured(step, env)
  }
  return countReady(env)
}

function countReady({ PLACE }) {
  return readdirSync(join(PLACE, 'wal/archive_status')).filter(name => /^[0-9A-F]{24}\.ready$/.test(name)).length
}

function archiveSection(settings, segments, missing) {
  const stored = {
    ours: [join(settings.env.PLACE, 'room/ours')],
    pgbackrest: [join(settings.env.PLACE, 'room/pgbackrest')],
  }
  const rows = contest(
    [
      {
        name: floor,
        prepare: fresh,
        run: archiver(`${pgbackrest} ${synchronous} ${push} archive-push`),
        stored: stored.pgbackrest,
        missing,
      },
      {
        name: 'pgBackRest archive-push, synchronous (zstd level 1)',
        prepare: fresh,
        run: archiver(`${pgbackrest} ${synchronous} archive-push`),
        stored: stored.pgbackrest,
        missing,
      },
      { name: ours, ours: true, prepare: fresh, run: archiver(`${program} pitr archive`), stored: stored.ours },
    ],
    settings,
  )
  return { title: `WAL archive, ${segments} segments of 16 MiB`, floor, goals: [{ row: ours, time: 1 }], rows }
}

/** Everything is archived already; what was fetched is compared with the original. */
function fetchSection(settings, segments, missing) {
  const { env, say } = settings
  say('archiving everything before it is fetched')
  unmeasured(`${fresh} && ${archiver(`${program} pitr archive`)}`, env)
  if (missing === undefined) unmeasured(`${again} && ${archiver(`${pgbackrest} ${synchronous} archive-push`)}`, env)
  const aside = '"/var/tmp/nexus-backup-wal$(realpath "$PGDATA" | tr / -)"'
  const clean = `rm -rf "$PGDATA/pg_wal/.nexus-backup" ${aside} "$PLACE/room/spool"`
  const rows = contest(
    [
      {
        name: getFloor,
        prepare: clean,
        run: recovery((name, path) => `${pgbackrest} ${get} archive-get ${name} ${path}`),
        missing,
      },
      {
        name: 'pgBackRest archive-get, synchronous',
        prepare: clean,
        run: recovery((name, path) => `${pgbackrest} archive-get ${name} ${path}`),
        missing,
      },
      {
        name: fetch,
        ours: true,
        prepare: clean,
        run: recovery((name, path) => `${program} pitr fetch ${name} ${path}`),
      },
    ],
    settings,
  )
  return { title: `WAL fetch, ${segments} segments of 16 MiB`, floor: getFloor, goals: [], rows }
}

/** What one call costs when an earlier one has archived its segment. */
function doneSection(settings) {
  const one = '$(ls "$PLACE/wal" | grep -E "^[0-9A-F]{24}$" | sed -n 2p)'
  const rows = contest(
    [
      { name: 'node -e 0', run: inData('"$NODE" -e 0') },
      {
        name: done,
        ours: true,
        // The first call leaves the note for the second segment.
        prepare: `${again} && ${inData(`${program} pitr archive pg_wal/$(ls pg_wal | grep -E "^[0-9A-F]{24}$" | head -n 1)`)}`,
        run: inData(`name=${one}; test -e "pg_wal/.nexus-backup/$name.stored"; ${program} pitr archive "pg_wal/$name"`),
      },
    ],
    { ...settings, runs: 7, say: () => {} },
  )
  return { title: 'Start of pitr archive', floor: 'node -e 0', goals: [{ row: done, time: 1.3 }], rows }
}
