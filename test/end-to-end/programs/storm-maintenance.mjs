// Does to a database what administrators and cron do, until SIGTERM: storm-maintenance.mjs PATH checkpoint|vacuum
import Database from 'better-sqlite3'
import { untilTold } from './storm-ledger.mjs'

const [path, work] = process.argv.slice(2)
const database = new Database(path, { timeout: 2000 })
const done = {}
let turn = 0

function attempt(name, sql) {
  try {
    const statement = database.prepare(sql)
    const blocked = statement.reader ? statement.get()?.busy === 1 : statement.run() === undefined
    if (!blocked) done[name] = (done[name] ?? 0) + 1
  } catch (error) {
    if (!String(error.code).startsWith('SQLITE_BUSY')) throw error
  }
}

const steps = {
  checkpoint() {
    const kind = ['TRUNCATE', 'PASSIVE', 'RESTART', 'TRUNCATE', 'FULL'][turn % 5]
    database.pragma(`busy_timeout = ${kind === 'PASSIVE' ? 0 : 20}`)
    attempt(kind, `PRAGMA wal_checkpoint(${kind})`)
  },
  vacuum() {
    if (turn % 3 === 0) attempt('VACUUM', 'VACUUM')
    else attempt('incremental_vacuum', 'PRAGMA incremental_vacuum(200)')
    // A pause, or nobody else would ever write.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 150)
  },
}

untilTold(
  () => {
    steps[work]()
    turn += 1
  },
  () => {
    database.close()
    return done
  },
)
