import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'
import { checkout, forOthers } from '../../helpers/checkout.js'

/**
 * An application: a process with a database open, which does what it is told. The process under test must never have
 * the database open itself.
 */
const script = `
  const Database = require('better-sqlite3')
  const [path, timeout] = process.argv.slice(1)
  const database = new Database(path, { timeout: Number(timeout) })
  process.on('message', sql => {
    if (sql === 'close') { database.close(); process.disconnect(); return }
    try {
      const answers = sql.split(';;').map(text => {
        const statement = database.prepare(text)
        return statement.reader ? statement.raw().all() : statement.run().changes
      })
      process.send({ answer: answers.at(-1) })
    } catch (error) { process.send({ code: error.code ?? error.message }) }
  })
  process.send('ready')
`

export interface SqlProcess {
  child: ChildProcess
  /** Runs statements separated by `;;` and returns what the last one did. */
  run(sql: string): Promise<unknown>
  /** Closes the database as a program does that ends. */
  close(): Promise<void>
  kill(): Promise<void>
}

/** Starts a process that has the database open. `as` runs it as another user (needs root). */
export async function sqlProcess(
  path: string,
  options: { timeout?: number; as?: { uid: number; gid: number } } = {},
): Promise<SqlProcess> {
  const child = spawn(process.execPath, ['-e', script, path, String(options.timeout ?? 5000)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    ...options.as,
    cwd: forOthers(checkout),
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child, 'message')
  const ended = once(child, 'exit')
  return {
    child,
    async run(sql) {
      child.send(sql)
      const [reply] = (await once(child, 'message')) as [{ answer?: unknown; code?: string }]
      if (reply.code !== undefined) throw new Error(reply.code)
      return reply.answer
    },
    async close() {
      child.send('close')
      await ended
    },
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
  }
}
