import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, it } from 'vitest'
import type { PartRules } from '../../../src/operations/requests.js'
import { restore } from '../../../src/operations/restore.js'
import { planOutput, restoreToOutput } from '../../../src/operations/restore-output.js'
import { type Directories, directories } from '../directories.js'

/** Files as a program leaves them that was killed: the last commit stands in the log alone. */
async function backedUp(): Promise<Directories> {
  const at = directories({ sqlite: false })
  const used = new Database(join(at.room, 'used.db'))
  used.pragma('journal_mode = WAL')
  used.exec("CREATE TABLE t (x); INSERT INTO t VALUES ('now')")
  for (const name of ['app', 'odd [1]'])
    for (const suffix of ['', '-wal'])
      copyFileSync(join(at.room, `used.db${suffix}`), join(at.uploads, `${name}.db${suffix}`))
  used.close()
  copyFileSync(join(at.room, 'used.db'), join(at.uploads, 'closed.db'))
  writeFileSync(join(at.uploads, 'closed.db-wal'), '')
  copyFileSync(join(at.room, 'used.db'), join(at.uploads, 'old.db'))
  writeFileSync(join(at.uploads, 'old.db-journal'), 'journal')
  writeFileSync(join(at.uploads, 'notes'), 'no database')
  writeFileSync(join(at.uploads, 'notes-wal'), 'no log')
  await at.backUp()
  at.warnings.length = 0
  return at
}

const cases: [part: Partial<PartRules>, database: string | null, log: string, others?: string][] = [
  [{ include: ['app.db'] }, 'app.db', 'app.db-wal'],
  [{ include: ['old.db'] }, 'old.db', 'old.db-journal'],
  [{ include: ['*.db'] }, 'app.db', 'app.db-wal', ', and 2 more so'],
  [{ exclude: ['app.db-*'] }, 'app.db', 'app.db-wal'],
  [{ include: ['odd*.db'] }, 'odd [1].db', 'odd [1].db-wal'],
  [{ include: ['app.db*'] }, null, ''],
  [{ include: ['closed.db'] }, null, ''],
  [{ include: ['notes'] }, null, ''],
]

it('a database without its log is told, to a new directory and into one that is there', async () => {
  const at = await backedUp()
  for (const [part, database, log, others = ''] of cases) {
    const rules = { include: [], exclude: [], ...part }
    for (const merge of [undefined, { overwrite: 'always' } as const]) {
      const path = join(at.room, `to-${Math.random()}`)
      if (merge !== undefined) mkdirSync(path)
      at.warnings.length = 0
      const more = { part: rules, ...(merge === undefined ? {} : { merge }) }
      await restore(at.context, at.journal, at.restoring({ kind: 'path', path, force: false }, more))
      const told = at.warnings.filter(text => text.includes('without its log'))
      expect(told).toHaveLength(database === null ? 0 : 1)
      if (database === null) continue
      const [file, beside] = [join(at.uploads, database), join(at.uploads, log)]
      expect(told[0]).toContain(`the database ${file} is restored without its log ${beside}${others}: `)
      // What it says to run is what tells nothing any more.
      const [, pattern = ''] = /--include '([^']+)' --to DIR$/.exec(told[0] ?? '') ?? []
      const again = { part: { include: [pattern], exclude: [] } }
      at.warnings.length = 0
      await restore(at.context, at.journal, at.restoring({ kind: 'path', path: `${path}-both`, force: false }, again))
      expect(at.warnings).toEqual([])
      expect(new Database(join(`${path}-both`, file)).prepare('SELECT count(*) FROM t').pluck().get()).toBe(1)
    }
  }
})

it('is told of what goes to standard output', async () => {
  const at = await backedUp()
  const part = { include: ['app.db'], exclude: [] }
  const { target: _, ...request } = at.restoring({ kind: 'path', path: '', force: false }, { part })
  const plan = await planOutput(at.context, request)
  await restoreToOutput(at.context, at.journal, { request, plan, write: async () => {} })
  expect(at.warnings).toEqual([expect.stringContaining('app.db is restored without its log')])
})
