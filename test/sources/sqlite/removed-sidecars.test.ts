import { copyFileSync, existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, it, vi } from 'vitest'
import { swapIn } from '../../../src/sources/sqlite/swap.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

/** The files whose users were looked for, in order. */
const looks = vi.hoisted(() => ({ wanted: [] as ReadonlySet<string>[] }))

vi.mock(import('../../../src/sources/sqlite/users.js'), async original => {
  const users = await original()
  return {
    ...users,
    usersOfFiles(wanted, options) {
      looks.wanted.push(wanted)
      return users.usersOfFiles(wanted, options)
    },
  }
})

const identity = (path: string) => `${statSync(path).dev}:${statSync(path).ino}`

it('whose inode a stranger’s file has taken since do not make that stranger a user of the database', async () => {
  const room = temporaryDirectory()
  const target = join(room, 'app.db')
  const database = new Database(target)
  database.pragma('journal_mode = PERSIST')
  database.exec('CREATE TABLE t (a); INSERT INTO t VALUES (1)')
  database.close()
  const staged = join(room, 'staged.db')
  copyFileSync(target, staged)
  const removed = identity(`${target}-journal`)
  const swap = { target, staged, sidecars: [], previous: join(room, 'previous.db'), disposable: true }
  const silent = () => {}
  const told = {
    willMove: async () => {},
    willOverwrite: async () => {},
    asItWas: silent,
    notKept: silent,
    warn: silent,
  }
  expect(await swapIn({ ...swap, ...told })).toBe(true)
  expect(existsSync(`${target}-journal`)).toBe(false)
  const last = looks.wanted.at(-1)
  expect([...(last ?? [])]).toEqual([identity(swap.previous)])
  expect(last?.has(removed)).toBe(false)
})
