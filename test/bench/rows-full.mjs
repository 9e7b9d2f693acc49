// A full backup of a live database in WAL mode.
import { contest } from './contest.mjs'
import { missingTool } from './tools.mjs'

const fresh = 'rm -rf "$ROOM" && mkdir "$ROOM"'
const resticReady = `${fresh} && restic -q init`
const borgReady = `${fresh} && borg init --encryption none "$ROOM/borg"`
const copy = 'sqlite3 "$DB" ".backup $ROOM/copy.db"'

export function fullRows({ tools, room, ...settings }) {
  const ours = 'node "$PROGRAM" create --sqlite "$DB" --repo "$ROOM/ours" --state "$ROOM/state" --init --type full'
  const restic = { stored: [`${room}/restic`], missing: missingTool(tools, 'restic') }
  const borg = { stored: [`${room}/borg`], missing: missingTool(tools, 'borg') }
  const rows = contest(
    [
      {
        name: 'zstd -1 -T2 of the file',
        prepare: fresh,
        run: 'zstd -q -1 -T2 "$DB" -o "$ROOM/db.zst"',
        stored: [`${room}/db.zst`],
        missing: missingTool(tools, 'zstd'),
      },
      {
        name: 'the same, then fsync',
        prepare: fresh,
        run: 'zstd -q -1 -T2 "$DB" -o "$ROOM/db.zst" && sync "$ROOM/db.zst"',
        stored: [`${room}/db.zst`],
        missing: missingTool(tools, 'zstd'),
      },
      {
        name: 'nexus-backup --check none',
        ours: true,
        prepare: fresh,
        run: `${ours} --check none`,
        stored: [`${room}/ours`],
      },
      {
        name: 'nexus-backup --check none, encrypted',
        ours: true,
        prepare: `${fresh} && node "$PROGRAM" keys create "$ROOM/key"`,
        run: `${ours} --check none --key-file "$ROOM/key"`,
        stored: [`${room}/ours`],
      },
      { name: 'nexus-backup (integrity check)', ours: true, prepare: fresh, run: ours, stored: [`${room}/ours`] },
      {
        name: 'sqlite3 .backup + zstd -1 -T2',
        prepare: fresh,
        run: `${copy} && zstd -q -1 -T2 "$ROOM/copy.db" -o "$ROOM/db.zst"`,
        stored: [`${room}/db.zst`],
        missing: missingTool(tools, 'sqlite3', 'zstd'),
      },
      { ...restic, name: 'restic alone (unsafe: no .backup)', prepare: resticReady, run: 'restic -q backup "$DB"' },
      {
        ...restic,
        name: 'sqlite3 .backup + restic',
        prepare: resticReady,
        run: `${copy} && restic -q backup "$ROOM/copy.db"`,
        missing: missingTool(tools, 'sqlite3', 'restic'),
      },
      {
        ...borg,
        name: 'borg alone (unsafe: no .backup)',
        prepare: borgReady,
        run: 'borg create "$ROOM/borg::a" "$DB"',
      },
      {
        ...borg,
        name: 'sqlite3 .backup + borg',
        prepare: borgReady,
        run: `${copy} && borg create "$ROOM/borg::a" "$ROOM/copy.db"`,
        missing: missingTool(tools, 'sqlite3', 'borg'),
      },
      {
        name: 'Litestream snapshot',
        // It writes tables of its own into the database: it gets a copy.
        prepare: `${fresh} && cp "$DB" "$ROOM/copy.db"`,
        run: `"$LITESTREAM" replicate -exec "bash '$BENCH/litestream-wait.sh' '$ROOM/replica'" "$ROOM/copy.db" "file://$ROOM/replica" > /dev/null 2>&1`,
        stored: [`${room}/replica`],
        missing: missingTool(tools, 'litestream'),
      },
    ],
    settings,
  )
  return {
    title: 'Full backup',
    floor: 'zstd -1 -T2 of the file',
    goals: [{ row: 'nexus-backup --check none', time: 1.15 }],
    rows,
  }
}
