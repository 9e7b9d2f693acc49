// A database like that of an ITSM service: incidents in sentences, with parts that do not compress.
import Database from 'better-sqlite3'

const words = (
  'user cannot log in to mail server since this morning printer on floor two shows error restart did not help ' +
  'network slow vpn connection drops after update laptop screen flickers password expired request access shared folder ' +
  'database timeout application returns blank page customer reports missing invoice escalated second level waiting vendor ' +
  'workaround applied monitoring alert disk nearly full backup job failed certificate expires replaced cable resolved'
).split(' ')
const states = ['open', 'work', 'wait', 'done']

/** mulberry32: the same database every time. */
function randomFrom(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
}

/** Makes a database of about `megabytes` in WAL mode with an empty log. */
export function makeDatabase(path, megabytes) {
  const database = new Database(path)
  database.exec(`
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE incidents (id INTEGER PRIMARY KEY, ticket TEXT, state TEXT, opened_at TEXT, updated_at TEXT,
      reporter TEXT, summary TEXT, description TEXT, fingerprint TEXT);
    CREATE INDEX incidents_by_ticket ON incidents (ticket);
  `)
  const insert = database.prepare('INSERT INTO incidents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)')
  const pages = database.prepare('PRAGMA page_count').pluck()
  const random = randomFrom(20251103)
  const sentence = length => Array.from({ length }, () => words[random() % words.length]).join(' ')
  const hex = length => Array.from({ length }, () => random().toString(16).padStart(8, '0')).join('')
  const fill = database.transaction(first => {
    for (let id = first; id < first + 10_000; id += 1) {
      const time = new Date(1_700_000_000_000 + id * 61_000).toISOString()
      const reporter = `user${random() % 5000}@example.org`
      insert.run(id, `INC${hex(1)}`, states[random() % 4], time, time, reporter, sentence(8), sentence(50), hex(4))
    }
  })
  for (let id = 1; pages.get() * 4096 < megabytes * 1024 * 1024; id += 10_000) fill(id)
  database.pragma('journal_mode = WAL')
  database.close()
}

/** Multiplies the rows of a database by `factor`. */
export function enlarge(path, factor) {
  const database = new Database(path)
  database.pragma('synchronous = OFF')
  const rows = database.prepare('SELECT max(id) FROM incidents').pluck().get()
  for (let copy = 1; copy < factor; copy += 1) {
    database.exec(`INSERT INTO incidents SELECT id + ${copy * rows}, ticket || ${copy}, state, opened_at, updated_at,
      reporter, summary, description, fingerprint FROM incidents WHERE id <= ${rows}`)
    database.pragma('wal_checkpoint(TRUNCATE)')
  }
  database.close()
}

/** An application that has the database open, as it is in life; its log is only reset when it is told to. */
export function openApplication(path) {
  const database = new Database(path)
  database.pragma('wal_autocheckpoint = 0')
  database.prepare('SELECT count(*) FROM sqlite_schema').get()
  const rows = () => database.prepare('SELECT max(id) FROM incidents').pluck().get()
  return {
    /** Changes some text of one row in each of `share` of the table's pages. */
    changePages(share) {
      const perPage = (rows() * 4096) / (database.pragma('page_count', { simple: true }) * 4096)
      const step = Math.max(1, Math.round(perPage / share))
      const time = new Date(1_800_000_000_000).toISOString()
      database.prepare("UPDATE incidents SET updated_at = ?, state = 'shut' WHERE id % ? = 0").run(time, step)
    },
    /** Changes `count` rows far apart. */
    changeRows(count) {
      const change = database.prepare('UPDATE incidents SET fingerprint = lower(hex(randomblob(16))) WHERE id = ?')
      const far = Math.floor(rows() / count)
      database.transaction(() => {
        for (let row = 0; row < count; row += 1) change.run(1 + row * far)
      })()
    },
    resetLog: () => database.pragma('wal_checkpoint(TRUNCATE)'),
    close: () => database.close(),
  }
}
