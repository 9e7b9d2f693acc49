// Bringing a full back to a new file, durably.
import { contest } from './contest.mjs'
import { unmeasured } from './measure.mjs'
import { missingTool } from './tools.mjs'

const gone = 'rm -rf "$OUT" && mkdir "$OUT"'

export function restoreRows(settings) {
  const { tools, env, room } = settings
  const steps = [
    'rm -rf "$ROOM" && mkdir "$ROOM"',
    'node "$PROGRAM" create --sqlite "$DB" --name bench --repo "$ROOM/ours" --state "$ROOM/state" --init --check none',
    // The product's own full is what zstd gets: both unpack the very same frames.
    'cp "$ROOM"/ours/bench/*/*.db.zst "$ROOM/db.zst"',
  ]
  if (tools.restic) steps.push('restic -q init && restic -q backup "$DB"')
  if (tools.borg) steps.push('borg init --encryption none "$ROOM/borg" && borg create "$ROOM/borg::a" "$DB"')
  for (const step of steps) unmeasured(step, env)
  const out = { ...env, OUT: `${room}/out` }
  const restored = 'nexus-backup restore (with its integrity check)'
  const checked = 'PRAGMA integrity_check alone'
  const rows = contest(
    [
      {
        name: 'zstd -d, then fsync',
        prepare: gone,
        run: 'zstd -q -d "$ROOM/db.zst" -o "$OUT/db" && sync "$OUT/db"',
        missing: missingTool(tools, 'zstd'),
      },
      {
        name: restored,
        ours: true,
        prepare: gone,
        run: 'node "$PROGRAM" restore bench --repo "$ROOM/ours" --state "$ROOM/state" --to "$OUT/db"',
      },
      { name: checked, prepare: `${gone} && cp "$DB" "$OUT/db"`, run: 'node "$BENCH/integrity.mjs" "$OUT/db"' },
      {
        name: 'restic restore, then fsync',
        prepare: gone,
        run: 'restic -q restore latest --target "$OUT" && sync "$OUT$DB"',
        missing: missingTool(tools, 'restic'),
      },
      {
        name: 'borg extract, then fsync',
        prepare: gone,
        run: 'cd "$OUT" && borg extract "$ROOM/borg::a" && sync "$OUT$DB"',
        missing: missingTool(tools, 'borg'),
      },
    ],
    { ...settings, env: out, warm: [] },
  )
  const ours = rows.find(({ name }) => name === restored)
  const check = rows.find(({ name }) => name === checked)
  const less = 'nexus-backup restore less the integrity check (subtracted)'
  rows.splice(2, 0, { ...ours, name: less, seconds: ours.seconds - check.seconds, all_seconds: [], bytes: null })
  unmeasured('rm -rf "$ROOM"', env)
  return { title: 'Restore to a new file', floor: 'zstd -d, then fsync', goals: [{ row: less, time: 1.2 }], rows }
}
