import { execFileSync } from 'node:child_process'
import { copyFileSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it } from 'vitest'
import { probeSqlite } from '../../../src/sources/sqlite/probe.js'
import { canMount, smallDisk } from '../../end-to-end/helpers/small-disk.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { bytesOf, capture } from './capturing.js'

/** A database in WAL mode on a disk of its own; `log`: with commits that are in its log only. */
function onDisk(log: boolean): { disk: string; path: string; freeze(ageMs?: number): void } {
  const disk = smallDisk(join(temporaryDirectory(), 'disk'), 4 << 20)
  const room = temporaryDirectory()
  const made = join(room, 'app.db')
  const database = new Database(made)
  database.pragma('journal_mode = WAL')
  database.exec("CREATE TABLE t (text); INSERT INTO t VALUES ('one')")
  database.pragma('wal_checkpoint(TRUNCATE)')
  if (log) database.exec("INSERT INTO t VALUES ('two')")
  const names = log ? ['app.db', 'app.db-wal'] : ['app.db']
  if (!log) database.close()
  for (const name of names) copyFileSync(join(room, name), join(disk, name))
  if (log) database.close()
  return {
    disk,
    path: join(disk, 'app.db'),
    freeze(ageMs = 60_000) {
      const time = new Date(Date.now() - ageMs)
      for (const name of names) utimesSync(join(disk, name), time, time)
      execFileSync('mount', ['-o', 'remount,ro', disk])
    },
  }
}

async function textsIn(path: string): Promise<unknown[]> {
  const captured = await capture(path)
  const copy = join(temporaryDirectory(), 'copy.db')
  writeFileSync(copy, bytesOf(captured))
  expect(await captured.check('integrity', [])).toMatchObject([{ status: 'ok' }])
  const database = new Database(copy)
  const texts = database.prepare('SELECT text FROM t').pluck().all()
  database.close()
  return texts
}

describe.skipIf(!canMount)('a database in WAL mode on read-only media', () => {
  it('that was closed cleanly is captured byte for byte', async () => {
    const { disk, path, freeze } = onDisk(false)
    freeze()
    expect(probeSqlite(path).staged).toBe(true)
    expect(await textsIn(path)).toEqual(['one'])
    expect(readdirSync(disk)).toEqual(['app.db'])
  })

  it('is captured with what is in its log', async () => {
    const { path, freeze } = onDisk(true)
    const before = readFileSync(path)
    freeze()
    expect(await textsIn(path)).toEqual(['one', 'two'])
    expect(readFileSync(path).equals(before)).toBe(true)
  })

  it('is not believed to stand still when it was changed a moment ago', async () => {
    const { path, freeze } = onDisk(false)
    freeze(-60_000)
    await expect(capture(path)).rejects.toMatchObject({ code: 'source_moved' })
  })
})
