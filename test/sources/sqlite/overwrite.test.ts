import { spawnSync } from 'node:child_process'
import { readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it } from 'vitest'
import { overwrite } from '../../../src/sources/sqlite/overwrite.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

const writer = `
const Database = require('better-sqlite3')
new Database(process.argv[1], { fileMustExist: true, timeout: 0 }).exec("INSERT INTO t VALUES ('late')")`

function made(path: string, text: string): string {
  const database = new Database(path)
  database.exec('CREATE TABLE t (text)')
  database.prepare('INSERT INTO t VALUES (?)').run(text)
  database.close()
  return path
}

function textsIn(path: string): unknown[] {
  const database = new Database(path, { readonly: true })
  try {
    return database.prepare('SELECT text FROM t').pluck().all()
  } finally {
    database.close()
  }
}

function swapIn(room: string, willOverwrite: () => void) {
  const target = made(join(room, 'app.db'), 'live')
  const staged = made(join(room, 'staged.db'), 'restored')
  const previous = join(room, 'app.db.before')
  const done = overwrite({
    target,
    staged,
    previous,
    willOverwrite: async () => willOverwrite(),
    asItWas: () => {},
    notKept: () => {},
  })
  return { target, previous, done }
}

describe('overwriting a database', () => {
  it('keeps every writer out from the copy on', async () => {
    const room = temporaryDirectory()
    let attempt = ''
    const { target, previous, done } = swapIn(room, () => {
      attempt = spawnSync(process.execPath, ['-e', writer, join(room, 'app.db')], { encoding: 'utf8' }).stderr
    })
    expect(await done).toBe(true)
    expect(attempt).toContain('database is locked')
    expect([textsIn(target), textsIn(previous)]).toEqual([['restored'], ['live']])
  })

  it('writes to the file that it locked, and to nothing that takes its name', async () => {
    const room = temporaryDirectory()
    const secret = join(room, 'secret')
    writeFileSync(secret, 'secret')
    const { target, done } = swapIn(room, () => {
      renameSync(join(room, 'app.db'), join(room, 'moved.db'))
      symlinkSync(secret, join(room, 'app.db'))
      symlinkSync(secret, join(room, 'app.db-journal'))
    })
    expect(await done).toBe(true)
    expect(readFileSync(secret, 'utf8')).toBe('secret')
    expect(readFileSync(target, 'utf8')).toBe('secret')
    expect(textsIn(join(room, 'moved.db'))).toEqual(['restored'])
  })
})
