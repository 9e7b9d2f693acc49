// A PostgreSQL cluster: full, and the increment after 20,000 pgbench transactions, beside pg_basebackup and pgBackRest.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { postgresPrograms, startBenchCluster } from './cluster.mjs'
import { contest } from './contest.mjs'
import { unmeasured } from './measure.mjs'
import { missingTool } from './tools.mjs'

const fresh = 'rm -rf "$PLACE/room" && $AS mkdir "$PLACE/room"'
const back = 'rm -rf "$PLACE/room" && cp -a "$PLACE/room.full" "$PLACE/room"'
const create = 'cd / && $AS node "$PROGRAM" create bench --config "$PLACE/config.yaml"'
// The nearest to ours: zstd at level 1 with two processes, no waiting for an archive that is not there.
const pgbackrest =
  'cd / && $AS pgbackrest --stanza=bench --repo1-path="$PLACE/room/pgbackrest" --pg1-path="$PGDATA" --pg1-socket-path="$PLACE" --lock-path="$PLACE/lock" --log-level-file=off --log-level-console=error'
const stanza = `${pgbackrest} stanza-create`
const backup = `${pgbackrest} --compress-type=zst --compress-level=1 --process-max=2 --start-fast --no-archive-check --repo1-retention-full=2 backup`

export function clusterRows(settings) {
  const { tools, megabytes } = settings
  const bin = postgresPrograms()
  const absent = bin === undefined ? 'PostgreSQL not installed' : undefined
  if (absent !== undefined) {
    return [{ title: 'Cluster', floor: 'pg_basebackup', goals: [], rows: [{ name: 'cluster', missing: absent }] }]
  }
  const { env: cluster, stop } = startBenchCluster(bin, megabytes)
  try {
    const env = { ...settings.env, ...cluster }
    writeConfiguration(env)
    const common = { ...settings, env, warm: [] }
    const stored = { ours: [join(env.PLACE, 'room/ours')], pgbackrest: [join(env.PLACE, 'room/pgbackrest')] }
    const full = fullSection(common, stored, missingTool(tools, 'pgbackrest'))
    takeFulls(common, tools)
    const incr = incrSection(common, stored, missingTool(tools, 'pgbackrest'))
    return [full, incr]
  } finally {
    stop()
  }
}

function writeConfiguration({ PLACE, CONNECTION }) {
  const lines = [
    `state: ${PLACE}/room/state`,
    `repositories: { local: { path: ${PLACE}/room/ours } }`,
    `sources: { bench: { kind: postgres, connection: "${CONNECTION}" } }`,
  ]
  writeFileSync(join(PLACE, 'config.yaml'), `${lines.join('\n')}\n`, { mode: 0o644 })
}

function fullSection(settings, stored, withoutPgbackrest) {
  const floor = 'pg_basebackup | zstd -1 -T2'
  const ours = 'nexus-backup full'
  const rows = contest(
    [
      {
        name: floor,
        prepare: fresh,
        run: 'cd / && $AS bash -euo pipefail -c \'"$PGBIN/pg_basebackup" -D - -Ft -X fetch -c fast | zstd -q -1 -T2 -o "$PLACE/room/base.tar.zst"\'',
        stored: [join(settings.env.PLACE, 'room/base.tar.zst')],
        missing: missingTool(settings.tools, 'zstd'),
      },
      { name: ours, ours: true, prepare: fresh, run: `${create} --type full --init`, stored: stored.ours },
      {
        name: 'pgBackRest full (zstd level 1, two processes)',
        prepare: `${fresh} && ${stanza}`,
        run: `${backup} --type=full`,
        stored: stored.pgbackrest,
        missing: withoutPgbackrest,
      },
    ],
    settings,
  )
  return { title: 'Cluster, full', floor, goals: [{ row: ours, time: 1.15 }], rows }
}

/** Every run of the increments starts from a copy of this state. */
function takeFulls({ env, say }, tools) {
  const steps = [fresh, `${create} --type full --init`]
  if (tools.pgbackrest) steps.push(stanza, `${backup} --type=full`)
  steps.push(
    'rm -rf "$PLACE/room.full" && mv "$PLACE/room" "$PLACE/room.full"',
    'cd / && $AS "$PGBIN/pgbench" -n -c 4 -j 2 -t 5000',
    'cd / && $AS "$PGBIN/psql" -qc CHECKPOINT',
  )
  for (const step of steps) {
    say(`before the increment: ${step}`)
    unmeasured(step, env)
  }
}

function incrSection(settings, stored, withoutPgbackrest) {
  const floor = 'pgBackRest incr (zstd level 1, two processes)'
  const ours = 'nexus-backup incr of the cluster'
  const rows = contest(
    [
      {
        name: floor,
        prepare: back,
        run: `${backup} --type=incr`,
        stored: stored.pgbackrest,
        missing: withoutPgbackrest,
      },
      { name: ours, ours: true, prepare: back, run: `${create} --type incr`, stored: stored.ours },
    ],
    settings,
  )
  return {
    title: 'Cluster, increment after 20,000 pgbench transactions',
    floor,
    goals: [{ row: ours, bytes: 0.2 }],
    rows,
  }
}
