// One application that never stays what it is, until SIGTERM: it commits, changes journal mode and page size, vacuums,
// shrinks, and replaces its own file. storm-shifter.mjs PATH PROGRESS SLOT
import { renameSync, rmSync } from 'node:fs'
import Database from 'better-sqlite3'
import { ledgerWriter, progressOf, randomFrom, untilTold } from './storm-ledger.mjs'

const [path, progressPath, slot] = process.argv.slice(2)
const progress = progressOf(progressPath, Number(slot))
const random = randomFrom(104729)
const done = {}
let database
let writer
let commits = 0
let turn = 0
const pageSizes = [8192, 1024, 65536, 512, 4096]

function open() {
  database = new Database(path, { timeout: 60_000 })
  database.pragma('synchronous = OFF')
  writer = ledgerWriter(database, progress, random)
}

function commitFor(milliseconds, { add = 3, remove = 3, bytes = 3000 } = {}) {
  const end = performance.now() + milliseconds
  while (performance.now() < end) writer.commit({ add, remove: random() < 0.9 ? remove : 0, bytes })
}

/** Needs everybody else out; a capture may be under way. */
function insistOnMode(mode) {
  insist(() => {
    if (database.pragma(`journal_mode = ${mode}`, { simple: true }) !== mode) throw new Error(`not in mode ${mode}`)
  })
}

function insist(step) {
  for (;;) {
    try {
      step()
      return
    } catch (error) {
      if (!String(error.code).startsWith('SQLITE_BUSY')) throw error
    }
  }
}

const phases = {
  write_ahead() {
    insistOnMode('wal')
    commitFor(300)
  },
  checkpoints() {
    for (let n = 0; n < 20; n += 1) {
      commitFor(5)
      database.pragma('wal_checkpoint(TRUNCATE)')
    }
  },
  shrink() {
    commitFor(100, { add: 1, remove: 30 })
    insist(() => database.pragma('incremental_vacuum'))
    commitFor(100)
  },
  vacuum() {
    insist(() => database.exec('VACUUM'))
    commitFor(100)
  },
  delete() {
    insistOnMode('delete')
    commitFor(300, { add: 200, remove: 150 })
  },
  truncate() {
    insistOnMode('truncate')
    commitFor(200)
  },
  page_size() {
    insistOnMode('delete')
    database.pragma(`page_size = ${pageSizes[(done.page_size ?? 0) % pageSizes.length]}`)
    insist(() => database.exec('VACUUM'))
    commitFor(200)
  },
  persist() {
    insistOnMode('persist')
    commitFor(200)
  },
  write_ahead_again() {
    insistOnMode('wal')
    commitFor(300, { add: 50, remove: 40 })
  },
  /** As a careful program does it: complete, without a log, by one rename. */
  replace() {
    insistOnMode('delete')
    const next = `${path}.next`
    rmSync(next, { force: true })
    database.prepare('VACUUM INTO ?').run(next)
    database.close()
    commits += writer.counts.commits
    renameSync(next, path)
    open()
    commitFor(200)
  },
}

open()
untilTold(
  () => {
    const names = Object.keys(phases)
    const name = names[turn % names.length]
    phases[name]()
    done[name] = (done[name] ?? 0) + 1
    turn += 1
  },
  () => {
    database.close()
    return { ...done, commits: commits + writer.counts.commits }
  },
)
