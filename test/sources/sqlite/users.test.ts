import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openInThisProcess, userName, usersOf } from '../../../src/sources/sqlite/users.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { sqlProcess } from './sql-process.js'

const seesProcesses = process.platform === 'linux'

describe.skipIf(!seesProcesses)('usersOf', () => {
  test('names the process that has the database open though it holds no lock', async () => {
    const path = join(temporaryDirectory(), 'a.db')
    const application = await sqlProcess(path)
    await application.run('PRAGMA journal_mode=WAL;;CREATE TABLE t (a)')
    const { processes } = usersOf(path)
    expect(processes.map(({ pid }) => pid)).toEqual([application.child.pid])
    expect(processes[0]?.command).toContain('node')
    expect(processes[0]?.user).toBe(userName(process.geteuid?.() ?? 0))
    await application.close()
    expect(usersOf(path).processes).toEqual([])
  })

  test('sees through a symbolic link', async () => {
    const path = join(temporaryDirectory(), 'a.db')
    const application = await sqlProcess(path)
    await application.run('CREATE TABLE t (a)')
    const link = join(temporaryDirectory(), 'link.db')
    symlinkSync(path, link)
    expect(usersOf(link).processes.map(({ pid }) => pid)).toEqual([application.child.pid])
    expect(openInThisProcess(path)).toBe(false)
  })

  test('finds nobody for a file that does not exist', () => {
    expect(usersOf(join(temporaryDirectory(), 'none.db'))).toMatchObject({ processes: [] })
  })
})

test('a user id without a name is shown as a number', () => {
  expect(userName(0)).toBe('root')
  expect(userName(3_999_999_999)).toBe('uid 3999999999')
})
