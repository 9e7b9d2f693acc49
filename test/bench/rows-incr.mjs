// An increment after 8 % of the pages changed, the write-ahead log reset in between: everybody must read it all.
import { contest } from './contest.mjs'
import { unmeasured } from './measure.mjs'
import { missingTool } from './tools.mjs'

const share = 0.08
const back = 'rm -rf "$ROOM" && cp -a "$ROOM.full" "$ROOM"'
const copy = 'sqlite3 "$DB" ".backup $ROOM/copy.db"'

/** Lets every tool take its full, then the application change pages. Every run starts from a copy of that state. */
function takeFulls({ tools, env, say }, application) {
  const steps = [
    'rm -rf "$ROOM" "$ROOM.full" && mkdir "$ROOM"',
    'node "$PROGRAM" create --sqlite "$DB" --repo "$ROOM/ours" --state "$ROOM/state" --init --check none',
    'node "$BENCH/floor-scan.mjs" "$DB" "$ROOM/table"',
  ]
  if (tools.sqlite3) steps.push(copy)
  if (tools.restic && tools.sqlite3) steps.push('restic -q init && restic -q backup "$ROOM/copy.db"')
  if (tools.borg && tools.sqlite3) {
    steps.push('borg init --encryption none "$ROOM/borg" && borg create "$ROOM/borg::a" "$ROOM/copy.db"')
  }
  steps.push('rm -f "$ROOM/copy.db" && mv "$ROOM" "$ROOM.full"')
  for (const step of steps) {
    say(`before the increment: ${step}`)
    unmeasured(step, env)
  }
  application.changePages(share)
  application.resetLog()
}

export function incrRows({ application, ...settings }) {
  const { tools, room, env } = settings
  takeFulls(settings, application)
  const rows = contest(
    [
      {
        name: 'read and hash once, zstd of the changed pages',
        prepare: back,
        run: 'node "$BENCH/floor-scan.mjs" "$DB" "$ROOM/table" "$ROOM/pages" && zstd -q -1 -T2 "$ROOM/pages" -o "$ROOM/pages.zst"',
        stored: [`${room}/pages.zst`],
        missing: missingTool(tools, 'zstd'),
      },
      {
        name: 'nexus-backup incr',
        ours: true,
        prepare: back,
        run: 'node "$PROGRAM" create --sqlite "$DB" --repo "$ROOM/ours" --state "$ROOM/state" --type incr',
        stored: [`${room}/ours`],
      },
      {
        name: 'sqlite3 .backup + restic',
        prepare: back,
        run: `${copy} && restic -q backup "$ROOM/copy.db"`,
        stored: [`${room}/restic`],
        missing: missingTool(tools, 'sqlite3', 'restic'),
      },
      {
        name: 'sqlite3 .backup + borg',
        prepare: back,
        run: `${copy} && borg create "$ROOM/borg::b" "$ROOM/copy.db"`,
        stored: [`${room}/borg`],
        missing: missingTool(tools, 'sqlite3', 'borg'),
      },
    ],
    settings,
  )
  const counted = rows[0].missing === undefined ? JSON.parse(rows[0].stdout) : undefined
  unmeasured('rm -rf "$ROOM" "$ROOM.full"', env)
  return {
    title: `Increment, ${counted === undefined ? 'about 8' : ((100 * counted.changed) / counted.pages).toFixed(1)} % of the pages changed, log reset`,
    floor: 'read and hash once, zstd of the changed pages',
    goals: [{ row: 'nexus-backup incr', time: 1.3, bytes: 1.1 }],
    rows,
  }
}
