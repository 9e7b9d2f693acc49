// Makes the ledger of a storm: storm-make.mjs PATH [OPTIONS as JSON]; `ballast` bytes of zeros make it large
import Database from 'better-sqlite3'
import { ledgerWriter, makeLedger, progressOf, randomFrom } from './storm-ledger.mjs'

const [path, options = '{}'] = process.argv.slice(2)
const { ballast = 0, entries = 1000, journal = 'wal', ...rest } = JSON.parse(options)
const database = makeLedger(path, { ...rest, journal: 'delete' })
database.pragma('synchronous = OFF')
database.pragma('journal_mode = OFF')
const progress = progressOf('/dev/null', 0)
if (ballast > 0) {
  database.exec('CREATE TABLE ballast (id INTEGER PRIMARY KEY, filler BLOB)')
  const insert = database.prepare('INSERT INTO ballast (filler) VALUES (zeroblob(?))')
  const piece = 64 * 1024 * 1024
  for (let left = ballast; left > 0; left -= piece) insert.run(Math.min(piece, left))
}
ledgerWriter(database, progress, randomFrom(1)).commit({ add: entries, remove: 0, bytes: 2000 })
database.close()
const again = new Database(path)
again.pragma(`journal_mode = ${journal}`)
again.close()
