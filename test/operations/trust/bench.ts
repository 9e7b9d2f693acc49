import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import type { Context } from '../../../src/context.js'
import { create } from '../../../src/operations/create.js'
import { list } from '../../../src/operations/list.js'
import { restore } from '../../../src/operations/restore.js'
import { verify } from '../../../src/operations/verify.js'
import { formatChecksums, parseChecksums } from '../../../src/repository/checksums.js'
import { openRepository } from '../../../src/repository/open.js'
import type { Repository } from '../../../src/repository/types.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { sha256 } from '../../repository/manifests.js'
import type { Application } from '../application.js'
import { accessWith, requestFor } from '../sealing/encrypted.js'

/** Somebody with this very program, a state directory of his own, and no key. */
export function intruderOf(app: Application): Context {
  return { ...app.context, keys: accessWith(), stateDirectory: join(temporaryDirectory(), 'state') }
}

/** Backs up a database that holds something else, under the name of the application's. Returns its id. */
export async function forge(app: Application, intruder: Context): Promise<string> {
  const { path } = app.source
  const kept = join(temporaryDirectory(), 'kept.db')
  copyFileSync(path, kept)
  mark(path, 'forged')
  try {
    const { backups, failures } = await create(intruder, app.journal, requestFor(app.source, { type: 'full' }))
    if (failures.length > 0) throw new Error(failures[0]?.message)
    return backups[0]?.id ?? ''
  } finally {
    copyFileSync(kept, path)
    for (const suffix of ['-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true })
  }
}

/** Makes a table of this name in a database. */
export function mark(path: string, name: string): void {
  const database = new Database(path)
  database.exec(`CREATE TABLE ${name} (text TEXT)`)
  database.close()
}

/** What a restore brought: the backup's id, and the names that `mark` gave. */
export async function restored(
  app: Application,
  backup: string,
  wishes: { context?: Context; untrusted?: boolean; path?: string; at?: Date } = {},
): Promise<{ id: string | null; marks: string[] }> {
  const path = join(temporaryDirectory(), 'restored.db')
  const { context = app.context, untrusted = false, at } = wishes
  const repositories = [wishes.path === undefined ? app.source.repository : { name: 'other', path: wishes.path }]
  const target = { kind: 'path' as const, path, force: false }
  const request = { repositories, backup, target, source: app.source, at, untrusted, dryRun: false }
  const { id } = await restore(context, app.journal, request)
  const database = new Database(path, { readonly: true })
  const rows = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").all()
  database.close()
  return {
    id,
    marks: rows.map(row => (row as { name: string }).name).filter(name => name !== 'items' && name !== 'marker'),
  }
}

export async function listed(app: Application, context: Context = app.context, path = app.source.repository.path) {
  const repositories = [{ ...app.source.repository, path }]
  const { backups, untrusted, problems } = await list(context, { repositories, source: undefined, all: false })
  return {
    ours: backups.map(({ id }) => id),
    proven: backups.filter(({ proven }) => proven).map(({ id }) => id),
    untrusted: untrusted.map(({ id, trust }) => [id, trust]),
    problems: problems.map(({ id }) => id),
  }
}

/** The status of each backup, by id. */
export async function verified(app: Application, context: Context = app.context): Promise<Record<string, string>> {
  const request = { repositories: [app.source.repository], sources: [], targets: [], drill: false }
  const { results } = await verify(context, app.journal, request)
  return Object.fromEntries(results.map(({ id, status }) => [id, status]))
}

export function opened(app: Application): Promise<Repository> {
  return openRepository(app.source.repository)
}

/** Puts a manifest in the place of another, SHA256SUMS to match. */
export function overwrite(
  directory: string,
  change: (manifest: Record<string, unknown>) => Record<string, unknown>,
): void {
  const path = join(directory, 'manifest.json')
  const bytes = Buffer.from(`${JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8'))), null, 2)}\n`)
  writeFileSync(path, bytes)
  const sums = parseChecksums(readFileSync(join(directory, 'SHA256SUMS')), 'test')
  sums.set('manifest.json', sha256(bytes))
  writeFileSync(join(directory, 'SHA256SUMS'), formatChecksums(sums))
}
