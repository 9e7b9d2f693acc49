import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { s3Location } from '../../src/repository/storage/s3/settings.js'
import { faultProxy } from '../helpers/fault-proxy.js'
import { startS3 } from '../helpers/s3-server.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { atMoments } from './helpers/kills.js'
import { run, start } from './helpers/run.js'

const server = await startS3()

/** A database backed up to a directory, with a copy in a bucket, all by a configuration. */
async function copied(rows?: number) {
  const directory = temporaryDirectory()
  const database = join(directory, 'app.db')
  const local = join(directory, 'local')
  await makeDatabase(database, rows === undefined ? {} : { rows })
  const settings = await server.newPlace()
  const offsite = s3Location(settings)
  const config = join(directory, 'config.yaml')
  writeFileSync(
    config,
    `state: ${directory}/state
repositories:
  local: { path: ${local} }
  offsite: { s3: { bucket: ${settings.bucket}, prefix: "${settings.prefix}", endpoint: "${settings.endpoint}" } }
sources:
  app: { kind: sqlite, path: ${database}, repository: local, copies: [offsite] }
`,
  )
  const flags = ['--config', config]
  const command = (...args: string[]) => run([...args, ...flags], { env: server.env })
  return {
    directory,
    database,
    local,
    offsite,
    config,
    command,
    started: (...args: string[]) => start([...args, ...flags], { env: server.env }),
    async ok(...args: string[]) {
      const finished = await command(...args)
      if (finished.code !== 0) throw new Error(`${args.join(' ')}: ${finished.code} ${finished.stderr}`)
      return finished
    },
    /** Runs with `--json` on the copy alone, as a machine that has nothing but its address. */
    async there(...args: string[]) {
      const env = { ...server.env, AWS_ENDPOINT_URL_S3: settings.endpoint ?? '' }
      const state = join(temporaryDirectory(), 'state')
      const { code, stdout } = await run([...args, '--json', '--repo', offsite, '--state', state], { env })
      return { code, document: JSON.parse(stdout) }
    },
  }
}

describe('copies', () => {
  it('follow every create, silently, and are all that is left when the machine is lost', async () => {
    const one = await copied()
    expect(await one.ok('create', '--init')).toMatchObject({ stdout: '', stderr: '' })
    await changeDatabase(one.database, 1)
    await one.ok('create', '--type', 'incr')
    rmSync(one.local, { recursive: true })
    for (const end of ['', '-wal', '-shm']) rmSync(one.database + end, { force: true })
    const lost = await one.command('restore', 'app', '--to', one.database)
    expect([lost.code, lost.stderr]).toEqual([5, expect.stringContaining(`--repo ${one.offsite}`)])
    expect((await one.there('verify', '--drill')).document.results).toHaveLength(2)
    const { code } = await one.there('restore', 'app', '--to', one.database)
    expect(code).toBe(0)
    expect(stateOf(one.database)).toEqual(expectedState(1))
    await one.ok('copy', '--from', 'offsite', '--to', 'local', '--init')
    await changeDatabase(one.database, 2)
    await one.ok('create')
    expect((await one.there('list')).document.backups).toHaveLength(3)
  })

  it('that cannot be reached make the run partly done; the next run catches up', async () => {
    const one = await copied()
    await one.ok('create', '--init')
    const proxy = await faultProxy(server.endpoint)
    proxy.rule = (_, what) => (what.startsWith('PUT') && /app\.db\.zst/.test(what) ? '403' : undefined)
    const away = join(one.directory, 'away.yaml')
    writeFileSync(away, readFileSync(one.config, 'utf8').replace(server.endpoint, proxy.endpoint))
    await changeDatabase(one.database, 1)
    const partly = await run(['create', '--type', 'full', '--config', away], { env: server.env })
    expect(partly.code).toBe(3)
    expect(partly.stdout).toBe('')
    expect(partly.stderr).toMatch(/app was not copied to s3:.*access denied/)
    expect(partly.stderr).toMatch(/hint: .* nexus-backup --config \S+ copy$/m)
    expect((await one.there('list')).document.backups).toHaveLength(1)
    await one.ok('copy')
    expect((await one.there('list')).document.backups).toHaveLength(2)
    expect((await one.there('verify')).code).toBe(0)
  })

  it('killed at any moment leave nothing listed that is damaged, and the next one needs no help', async () => {
    const one = await copied(40_000)
    await one.ok('create', '--init')
    await changeDatabase(one.database, 1)
    const plain = ['create', '--type', 'full', '--repo', one.local]
    await one.ok(...plain)
    const { duration } = await one.ok('copy')
    await atMoments(3, duration, async (kill, index) => {
      await changeDatabase(one.database, index + 2)
      await one.ok(...plain)
      await kill(one.started('copy'))
      const { code, document } = await one.there('list')
      expect([code, document.problems]).toEqual([0, []])
      await one.ok('copy')
      expect((await one.there('list')).document.backups).toHaveLength(index + 3)
    })
    expect((await one.there('verify')).code).toBe(0)
  })

  it('lose nothing when the local repository is emptied or pruned', async () => {
    const one = await copied()
    await one.ok('create', '--init')
    for (let generation = 1; generation <= 3; generation++) {
      await changeDatabase(one.database, generation)
      await one.ok('create', '--type', 'full')
    }
    await one.ok('prune', 'app', '--keep-last', '1')
    await one.ok('copy')
    expect((await one.there('list')).document.backups).toHaveLength(4)
  })
})
