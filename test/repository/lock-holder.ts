import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'

/**
 * Another process that holds a lock as SQLite does, without a line of our code: what the two agree on is the
 * file and SQLite's locking, as it would be with another version of this program.
 */
const script = `
  const Database = require('better-sqlite3')
  const [path, sql] = process.argv.slice(1)
  const database = new Database(path, { timeout: 0 })
  process.on('message', () => { database.close(); process.disconnect() })
  try { database.exec(sql); process.send('held') } catch (error) { process.send(error.code) }
`

const statements = {
  exclusive: 'PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE',
  shared: 'BEGIN; SELECT count(*) FROM sqlite_schema',
}

/** Starts it and waits until it holds the lock. */
export async function holdElsewhere(path: string, mode: keyof typeof statements): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['-e', script, path, statements[mode]], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [answer] = await once(child, 'message')
  if (answer !== 'held') throw new Error(`the other process could not take the lock: ${answer}`)
  return child
}

/** Ends it as told and waits until it is gone. */
export async function end(child: ChildProcess, how: 'release' | 'SIGKILL'): Promise<void> {
  const gone = once(child, 'exit')
  if (how === 'release') child.send('release')
  else child.kill('SIGKILL')
  await gone
}
