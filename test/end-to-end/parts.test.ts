import { spawnSync } from 'node:child_process'
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, it } from 'vitest'
import { noise } from '../sources/files/trees.js'
import { binary } from './helpers/run.js'
import { type FilesPlace, filesPlace } from './helpers/tree.js'

/** Bytes on standard output, which no helper keeps as they are. */
function output(place: FilesPlace, args: readonly string[]): { status: number | null; bytes: Buffer; stderr: string } {
  const config = join(place.room, 'config.yaml')
  const { status, stdout, stderr } = spawnSync(binary, ['restore', ...args, '--to', '-', '--config', config])
  return { status, bytes: stdout, stderr: stderr.toString() }
}

it('finds, compares and restores single files, and writes one to standard output', async () => {
  const place = filesPlace()
  const [file, log] = [join(place.uploads, 'prices.bin'), join(place.logs, 'app.log')]
  const content = noise(700_000, 1)
  writeFileSync(file, content)
  writeFileSync(log, 'then\n')
  const { backups } = (await place.json('create', ['up', '--init'])) as { backups: { id: string }[] }
  const [{ id: first } = { id: '' }] = backups
  appendFileSync(log, 'now\n')
  const { backups: more } = (await place.json('create', ['up'])) as { backups: { id: string }[] }
  const [{ id: second } = { id: '' }] = more

  const { files } = (await place.json('list', [first, '--files', '*.bin'])) as { files: { path: string }[] }
  expect(files.map(({ path }) => path)).toContain(file)
  expect((await place.run('list', ['up', '--files', 'app.log'])).stdout).toMatch(
    new RegExp(`${log}\n    in ${second}\n.*${log}\n    in ${first}\n$`),
  )
  const difference = await place.json('diff', [first, second])
  expect(difference).toMatchObject({ identical: false, counts: { changed: 1, added: 0, removed: 0 } })

  const to = join(place.room, 'to')
  const part = await place.json('restore', ['up', '--include', '*.bin', '--to', to])
  expect(part).toMatchObject({ part: { files: 1, bytes: 700_000 } })
  expect(readFileSync(join(to, file)).equals(content)).toBe(true)
  writeFileSync(join(to, file), 'changed')
  const merge = await place.json('restore', ['up', '--merge', '--to', to])
  expect(merge).toMatchObject({ merged: { created: 1, replaced: [file.slice(1)], left: 0 } })
  expect(readFileSync(join(to, log), 'utf8')).toBe('then\nnow\n')

  const whole = output(place, ['up', '--include', file])
  expect([whole.status, whole.bytes.equals(content), whole.stderr]).toEqual([0, true, ''])
  const none = output(place, ['up', '--include', 'prcies.bin'])
  expect([none.status, none.bytes.length]).toEqual([5, 0])
  expect(none.stderr).toContain(file)
  const mixed = await place.run('restore', ['up', '--include', '*.bin', '--in-place'])
  expect([mixed.code, mixed.stderr]).toEqual([2, expect.stringContaining("--include '*.bin' --to DIR")])
})

it('writes a database to standard output', async () => {
  const place = filesPlace()
  const path = join(place.room, 'app.db')
  const database = new Database(path)
  database.exec('CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100000))')
  database.close()
  const config = join(place.room, 'config.yaml')
  appendFileSync(config, `  app: { kind: sqlite, path: ${JSON.stringify(path)} }\n`)
  await place.json('create', ['app', '--init'])
  const { status, bytes, stderr } = output(place, ['app'])
  expect([status, stderr]).toEqual([0, ''])
  const copy = join(place.room, 'copy.db')
  writeFileSync(copy, bytes)
  expect(new Database(copy).pragma('integrity_check', { simple: true })).toBe('ok')
  expect(readdirSync(join(place.room, 'state'))).not.toContain('scratch')
})
