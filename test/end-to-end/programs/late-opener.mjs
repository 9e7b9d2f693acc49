// An application that opens a database, reads nothing yet, and begins to work when it is told to: late-opener.mjs PATH GO
// COMMITS [hunt]. It prints `open`; when the file GO is there it commits so often, and prints how often that was
// acknowledged. With hunt it opens the database as soon as a restore sets the former one aside, or at GO.
import { existsSync, readdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'

const [path, go, commits, hunt] = process.argv.slice(2)
if (hunt === 'hunt') {
  process.stdout.write('hunting\n')
  while (!existsSync(go) && !readdirSync(dirname(path)).some(name => name.includes('.before-restore-')));
}
const database = new Database(path, { fileMustExist: true, timeout: 10_000 })
process.stdout.write('open\n')
while (!existsSync(go)) await sleep(10)
let acknowledged = 0
let problem = ''
try {
  const insert = database.prepare('INSERT INTO late VALUES (?)')
  for (let index = 0; index < Number(commits); index += 1) {
    insert.run(index)
    acknowledged += 1
  }
} catch (error) {
  problem = error.code
}
process.stdout.write(`acknowledged ${acknowledged} ${problem}\n`)
// No checkpoint at the end: what a killed application leaves.
process.kill(process.pid, 'SIGKILL')
