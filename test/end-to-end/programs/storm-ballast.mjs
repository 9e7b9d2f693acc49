// Grows a database by so many bytes, a piece at a time, then waits for SIGTERM: storm-ballast.mjs PATH BYTES
import Database from 'better-sqlite3'
import { untilTold } from './storm-ledger.mjs'

const [path, bytes] = process.argv.slice(2)
const database = new Database(path, { timeout: 60_000 })
const insert = database.prepare('INSERT INTO ballast (filler) VALUES (randomblob(500000))')
let grown = 0

untilTold(
  () => {
    if (grown >= Number(bytes)) return
    insert.run()
    grown += 500_000
  },
  () => {
    database.close()
    return { grown }
  },
)
