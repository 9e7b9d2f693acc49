// Commits as fast as it can until SIGTERM: storm-writer.mjs PATH PROGRESS SLOT small|large|alone
//   small  a few entries at a time, the busy timeout that other writers need
//   large  hundreds of entries at a time
//   alone  small ones without any busy timeout: whoever is in its way is noticed
import Database from 'better-sqlite3'
import { ledgerWriter, progressOf, randomFrom, untilTold } from './storm-ledger.mjs'

const [path, progressPath, slot, size] = process.argv.slice(2)
const database = new Database(path, { timeout: size === 'alone' ? 0 : 60_000 })
const random = randomFrom(7919 * (Number(slot) + 1))
const writer = ledgerWriter(database, progressOf(progressPath, Number(slot)), random)
const entries = database.prepare('SELECT entries FROM marker').pluck()
const most = size === 'large' ? 4000 : 3000

untilTold(
  () => {
    const add = size === 'large' ? 100 + Math.floor(random() * 400) : 1 + Math.floor(random() * 4)
    const remove = entries.get() > most ? add + Math.floor(random() * add) : 0
    writer.commit({ add, remove, bytes: random() < 0.05 ? 40_000 : 1500 })
  },
  () => {
    database.close()
    return writer.counts
  },
)
