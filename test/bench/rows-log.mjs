// An increment while the write-ahead log was not reset: the size of the change counts, not that of the database.
import { join } from 'node:path'
import { contest } from './contest.mjs'
import { enlarge, openApplication } from './database.mjs'
import { unmeasured } from './measure.mjs'

const changedRows = 1000

/** Takes a full of a database, changes rows, and tells how the increment is measured, each run from the same state. */
function increment(megabytes, database, application, { scratch, env, say }) {
  const room = join(scratch, `room-${megabytes}`)
  const create = `node "$PROGRAM" create --sqlite '${database}' --repo '${room}/ours' --state '${room}/state'`
  say(`${megabytes} MB: full backup before the increment`)
  // A log with something in it, so that its salts are known to the full.
  application.changeRows(1)
  unmeasured(`mkdir '${room}' && ${create} --init --check none && mv '${room}' '${room}.full'`, env)
  application.changeRows(changedRows)
  return {
    name: `${megabytes} MB database`,
    ours: true,
    prepare: `rm -rf '${room}' && cp -a '${room}.full' '${room}'`,
    run: `${create} --type incr`,
    stored: [join(room, 'ours')],
  }
}

export function logRows(settings) {
  const { database, megabytes, env, scratch, say } = settings
  const large = join(scratch, 'large.db')
  say(`making a database of ${4 * megabytes} MB`)
  unmeasured('cp "$DB" "$LARGE"', { ...env, LARGE: large })
  enlarge(large, 4)
  const applications = [openApplication(database), openApplication(large)]
  try {
    const contestants = [
      increment(megabytes, database, applications[0], settings),
      increment(4 * megabytes, large, applications[1], settings),
    ]
    const [small, big] = contest(contestants, { ...settings, warm: [database, large] })
    return {
      title: `Increment of ${changedRows} rows, log not reset`,
      floor: small.name,
      goals: [{ row: big.name, time: 1.15 }],
      rows: [small, big],
    }
  } finally {
    for (const application of applications) application.close()
  }
}
