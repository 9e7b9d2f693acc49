// An application's first start: make-database.mjs PATH wal|delete ROWS PAGE_SIZE
import Database from 'better-sqlite3'

const [path, mode, rows, pageSize] = process.argv.slice(2)
const database = new Database(path)
database.pragma(`page_size = ${pageSize}`)
database.pragma(`journal_mode = ${mode}`)
database.exec(`
  CREATE TABLE marker (generation INTEGER NOT NULL);
  INSERT INTO marker VALUES (0);
  CREATE TABLE items (id INTEGER PRIMARY KEY, generation INTEGER NOT NULL, filler TEXT NOT NULL);
`)
const insert = database.prepare('INSERT INTO items VALUES (?, 0, ?)')
database.transaction(() => {
  // Different in each row and not compressible to nothing, but always the same: runs are repeatable.
  for (let id = 1; id <= Number(rows); id += 1) {
    let text = ''
    for (let seed = id, n = 0; n < 20; n += 1) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
      text += (seed >>> 8).toString(36)
    }
    insert.run(id, text)
  }
})()
database.close()
