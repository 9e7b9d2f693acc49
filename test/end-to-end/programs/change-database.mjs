// An application at work: change-database.mjs PATH GENERATION [hold]. With hold it stays open and never checkpoints.
import Database from 'better-sqlite3'

const [path, generation, hold] = process.argv.slice(2)
const database = new Database(path, { fileMustExist: true })
if (hold === 'hold') database.pragma('wal_autocheckpoint = 0')
database.transaction(() => {
  database.prepare('UPDATE marker SET generation = ?').run(Number(generation))
  database.prepare('UPDATE items SET generation = ? WHERE id % 16 = 1').run(Number(generation))
})()
if (hold === 'hold') {
  process.stdout.write('committed\n')
  setInterval(() => {}, 1 << 30)
} else database.close()
