// An application that does nothing: hold-open.mjs PATH [write]. It has read once, so every file of the database is open;
// with write it is in the middle of a transaction.
import Database from 'better-sqlite3'

const [path, write] = process.argv.slice(2)
const database = new Database(path, { fileMustExist: true })
database.prepare('SELECT count(*) FROM sqlite_schema').get()
if (write === 'write') database.exec('BEGIN IMMEDIATE')
process.stdout.write('open\n')
setInterval(() => {}, 1 << 30)
