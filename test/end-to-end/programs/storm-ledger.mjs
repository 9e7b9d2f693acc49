// A ledger that tells by itself whether it is whole: every transaction changes entries, balances and the marker
// together, so any state that is not exactly one commit's contradicts itself.
import { openSync, writeSync } from 'node:fs'
import Database from 'better-sqlite3'

const ACCOUNTS = 50
/** Refusals in a row, 5 ms apart, of a writer without a busy timeout: fewer than a capture lasts, more than a blink. */
const LONG = 20
const pause = new Int32Array(new SharedArrayBuffer(4))

export function makeLedger(path, { pageSize = 4096, journal = 'wal', autoVacuum = 'incremental' } = {}) {
  const database = new Database(path)
  database.pragma(`page_size = ${pageSize}`)
  database.pragma(`auto_vacuum = ${autoVacuum}`)
  database.exec(`
    CREATE TABLE marker (seq INTEGER NOT NULL, entries INTEGER NOT NULL, total INTEGER NOT NULL, bytes INTEGER NOT NULL);
    INSERT INTO marker VALUES (0, 0, 0, 0);
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    CREATE TABLE entries (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, account INTEGER NOT NULL, amount INTEGER NOT NULL, filler BLOB NOT NULL);
    CREATE INDEX entries_by_account ON entries (account, amount);
  `)
  const insert = database.prepare('INSERT INTO accounts VALUES (?, 0)')
  for (let id = 1; id <= ACCOUNTS; id += 1) insert.run(id)
  database.pragma(`journal_mode = ${journal}`)
  return database
}

/** What a writer is about to commit and what it has committed, for others to read at any time: 16 bytes a writer. */
export function progressOf(path, slot) {
  const fd = openSync(path, 'r+')
  const put = (at, seq) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64LE(BigInt(seq))
    writeSync(fd, bytes, 0, 8, slot * 16 + at)
  }
  return { started: seq => put(0, seq), committed: seq => put(8, seq) }
}

/** A writer on an open ledger. `add` and `remove` are numbers of entries, `bytes` the most that an entry holds. */
export function ledgerWriter(database, progress, random) {
  const statements = {
    seq: database.prepare('SELECT seq FROM marker').pluck(),
    insert: database.prepare('INSERT INTO entries (seq, account, amount, filler) VALUES (?, ?, ?, randomblob(?))'),
    oldest: database.prepare('SELECT id, account, amount, length(filler) AS bytes FROM entries ORDER BY id LIMIT ?'),
    remove: database.prepare('DELETE FROM entries WHERE id = ?'),
    balance: database.prepare('UPDATE accounts SET balance = balance + ? WHERE id = ?'),
    marker: database.prepare('UPDATE marker SET seq = ?, entries = entries + ?, total = total + ?, bytes = bytes + ?'),
  }
  const counts = { commits: 0, busy: 0, busyLong: 0, longestMs: 0, longestBeginMs: 0 }

  function insist(sql) {
    for (let failures = 0; ; failures += 1) {
      try {
        database.exec(sql)
        return
      } catch (error) {
        if (!String(error.code).startsWith('SQLITE_BUSY')) throw error
        counts.busy += 1
        if (failures === LONG) counts.busyLong += 1
        // Whoever holds the lock for a blink may have been put aside in the middle of it.
        Atomics.wait(pause, 0, 0, 5)
      }
    }
  }

  function commit({ add, remove, bytes }) {
    const began = performance.now()
    insist('BEGIN IMMEDIATE')
    counts.longestBeginMs = Math.max(counts.longestBeginMs, performance.now() - began)
    const seq = statements.seq.get() + 1
    progress.started(seq)
    let entries = 0
    let total = 0
    let size = 0
    for (const old of statements.oldest.all(remove)) {
      statements.remove.run(old.id)
      statements.balance.run(-old.amount, old.account)
      entries -= 1
      total -= old.amount
      size -= old.bytes
    }
    for (let n = 0; n < add; n += 1) {
      const account = 1 + Math.floor(random() * ACCOUNTS)
      const amount = Math.floor(random() * 2000) - 1000
      // SQLite's randomblob(0) is one byte long.
      const length = 1 + Math.floor(random() * bytes)
      statements.insert.run(seq, account, amount, length)
      statements.balance.run(amount, account)
      entries += 1
      total += amount
      size += length
    }
    statements.marker.run(seq, entries, total, size)
    insist('COMMIT')
    progress.committed(seq)
    counts.commits += 1
    counts.longestMs = Math.max(counts.longestMs, performance.now() - began)
    return seq
  }

  return { commit, counts }
}

/** Repeatable numbers in [0, 1). */
export function randomFrom(seed) {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 0x1_0000_0000
  }
}

/** Runs `step` until SIGTERM, then ends the process with the result of `finish` on stdout. */
export function untilTold(step, finish) {
  let stop = false
  process.on('SIGTERM', () => {
    stop = true
  })
  const turn = () => {
    if (stop) {
      process.stdout.write(`${JSON.stringify(finish())}\n`, () => process.exit(0))
      return
    }
    step()
    setImmediate(turn)
  }
  process.stdout.write('running\n')
  setImmediate(turn)
}
