// What the product's check after a restore does, alone: PRAGMA integrity_check with the same SQLite.
import Database from 'better-sqlite3'

const database = new Database(process.argv[2], { readonly: true })
if (database.pragma('integrity_check', { simple: true }) !== 'ok') process.exitCode = 1
