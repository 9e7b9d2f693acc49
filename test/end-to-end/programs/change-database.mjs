// An application at work: change-database.mjs PATH GENERATION [hold|spill]. With hold it stays open and never checkpoints;
// with spill it stays in the middle of the transaction, pages of which are in the database file already.
import Database from 'better-sqlite3'

const [path, generation, hold] = process.argv.slice(2)
const database = new Database(path, { fileMustExist: true })
if (hold === 'hold') database.pragma('wal_autocheckpoint = 0')
if (hold === 'spill') database.pragma('cache_size = 5')
database.exec('BEGIN IMMEDIATE')
database.prepare('UPDATE marker SET generation = ?').run(Number(generation))
database.prepare('UPDATE items SET generation = ? WHERE id % 16 = 1').run(Number(generation))
if (hold !== 'spill') database.exec('COMMIT')
if (hold === undefined) database.close()
else {
  process.stdout.write(hold === 'hold' ? 'committed\n' : 'spilled\n')
  setInterval(() => {}, 1 << 30)
}
