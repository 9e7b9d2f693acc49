import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { s3Location } from '../../src/repository/storage/s3/settings.js'
import { startS3 } from '../helpers/s3-server.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { binary, startProcess } from './helpers/run.js'

const server = await startS3()
const url = s3Location(await server.newPlace())

/** A machine with a name, a disk and a state directory of its own, and the bucket that all share. */
async function machine(name: string, changes: number) {
  const directory = temporaryDirectory()
  const database = join(directory, 'app.db')
  await makeDatabase(database)
  for (let change = 1; change <= changes; change++) await changeDatabase(database, change)
  // The kernel's own host name, in a namespace for one process: only root may set one.
  const named = ['--uts', 'sh', '-c', 'hostname "$1" && shift && exec "$@"', 'sh', name, binary]
  const run = (words: string[]) =>
    startProcess('unshare', [...named, ...words, '--repo', url, '--state', join(directory, 'state')], {
      cwd: directory,
      env: server.env,
    }).done
  return {
    directory,
    database,
    run,
    async json(...words: string[]) {
      const { code, stdout, stderr } = await run([...words, '--json'])
      const error = stderr === '' ? undefined : JSON.parse(stderr.trim().split('\n').at(-1) ?? '').error
      return { code, document: stdout === '' ? undefined : JSON.parse(stdout), error }
    },
  }
}

type Machine = Awaited<ReturnType<typeof machine>>

const backUp = ({ json, database }: Machine, name: string, ...more: string[]) =>
  json('create', '--sqlite', database, '--name', name, '--init', ...more)

it.skipIf(process.getuid?.() !== 0)('many machines share a bucket, and none harms another', async () => {
  const [one, two, bare] = [await machine('alpha', 1), await machine('beta', 2), await machine('gamma', 0)]
  expect((await backUp(one, 'itsm')).code).toBe(0)
  const alone = await one.run(['list'])
  expect(alone.stdout).toMatch(/^SOURCE +ID/)

  // A name belongs to the machine that took it first; another one is free, and --adopt is said aloud.
  const refused = await backUp(two, 'itsm')
  expect(refused).toMatchObject({
    code: 8,
    error: { code: 'source_claimed', message: expect.stringContaining('alpha') },
  })
  expect((await backUp(two, 'crm')).code).toBe(0)
  expect((await backUp(two, 'crm', '--type', 'full')).code).toBe(0)

  const table = await bare.run(['list'])
  expect([table.code, table.stderr]).toEqual([0, ''])
  const rows = table.stdout
    .trimEnd()
    .split('\n')
    .map(line => line.split(/ {2,}/).slice(0, 2))
  expect(rows).toEqual([
    ['HOST', 'SOURCE'],
    ['alpha', 'itsm'],
    ['beta', 'crm'],
    ['beta', 'crm'],
  ])
  const { document } = await bare.json('list')
  expect(document.backups.map(({ host, source }: { host: string; source: string }) => [host, source])).toEqual([
    ['alpha', 'itsm'],
    ['beta', 'crm'],
    ['beta', 'crm'],
  ])

  // A machine that has nothing restores what any of them backed up, by its source and by its id.
  const to = (name: string) => join(bare.directory, name)
  mkdirSync(to('back'))
  expect((await bare.json('restore', 'itsm', '--to', to('back/itsm.db'))).code).toBe(0)
  expect(stateOf(to('back/itsm.db'))).toEqual(expectedState(1))
  const crm = document.backups.filter(({ source }: { source: string }) => source === 'crm')
  expect((await bare.json('restore', crm[1].id, '--to', to('back/crm.db'))).code).toBe(0)
  expect(stateOf(to('back/crm.db'))).toEqual(expectedState(2))

  // Retention of one machine never reaches what another one owns, whether it names its source or has a configuration.
  const config = join(one.directory, 'config.yaml')
  writeFileSync(
    config,
    `repositories: { offsite: { s3: { bucket: ${url.split('/')[2]}, prefix: ${url.split('/').slice(3).join('/')}, endpoint: "${server.endpoint}" } } }\nsources: { itsm: { kind: sqlite, path: ${one.database}, keep: { last: 1 } } }\n`,
  )
  expect((await backUp(one, 'itsm', '--type', 'full')).code).toBe(0)
  // The other machine has a source of that name in its configuration, which it could never back up.
  const foreign = await two.json('prune', '--config', config)
  expect(foreign).toMatchObject({
    code: 8,
    error: { code: 'source_claimed', hint: expect.stringContaining('--adopt') },
  })
  const pruned = await one.json('prune', '--config', config)
  expect([pruned.code, pruned.document.delete.map(({ source }: { source: string }) => source)]).toEqual([0, ['itsm']])
  const left = (await bare.json('list')).document.backups
  expect(left.map(({ host }: { host: string }) => host)).toEqual(['beta', 'beta', 'alpha'])
  expect((await bare.json('verify')).code).toBe(0)

  // Two machines at once: leases are per source.
  const both = await Promise.all([backUp(one, 'itsm'), backUp(two, 'crm')])
  expect(both.map(({ code }) => code)).toEqual([0, 0])
})
