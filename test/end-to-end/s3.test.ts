import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DeleteObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3'
import { describe, expect, it } from 'vitest'
import type { S3Settings } from '../../src/repository/storage/s3/settings.js'
import { s3Location } from '../../src/repository/storage/s3/settings.js'
import { faultProxy } from '../helpers/fault-proxy.js'
import { startS3 } from '../helpers/s3-server.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { atMoments } from './helpers/kills.js'
import { type Place, place } from './helpers/place.js'
import { run } from './helpers/run.js'

const server = await startS3()

/** A database whose repository is a bucket's prefix. What is the same on every kind of repository, the suites say. */
async function bucketPlace(
  wishes: Partial<S3Settings> = {},
): Promise<{ at: Place; settings: S3Settings; repository: string }> {
  const settings = await server.newPlace(wishes)
  const repository = s3Location(settings)
  const env = { ...server.env, AWS_ENDPOINT_URL_S3: settings.endpoint ?? '' }
  return { at: place(temporaryDirectory(), { repository, env }), settings, repository }
}

async function keysOf({ bucket }: S3Settings): Promise<string[]> {
  const { Contents = [] } = await server.client.send(new ListObjectsV2Command({ Bucket: bucket }))
  return Contents.map(({ Key = '' }) => Key).sort()
}

async function listed(at: Place, args: string[] = []): Promise<{ id: string; type: string; host: string }[]> {
  return (await at.json('list', args)).document.backups
}

describe('a bucket as repository', () => {
  it('is all that a bare machine needs, which sees whose backups they are', async () => {
    const { at, repository } = await bucketPlace()
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    const bare = temporaryDirectory()
    const env = { ...server.env, HOME: bare }
    const flags = ['--repo', repository, '--state', join(bare, 'state')]
    const list = await run(['list', ...flags], { env })
    expect(list.stdout).toContain('app')
    const restored = join(bare, 'app.db')
    expect(await run(['restore', 'app', '--to', restored, ...flags], { env })).toMatchObject({ code: 0 })
    expect(stateOf(restored)).toEqual(expectedState(0))
  })

  it('is recovered without this program once it is downloaded by any client', async () => {
    const { at, settings } = await bucketPlace()
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    await changeDatabase(at.database, 1)
    await at.ok('create', ['--type', 'incr'])
    const directory = temporaryDirectory()
    await server.download(settings, directory)
    const [, id = ''] = readdirSync(join(directory, 'app'))
      .filter(name => /^\d{8}T/.test(name))
      .sort()
    const output = join(directory, 'out')
    execFileSync(process.execPath, [join(directory, 'recover.mjs'), join(directory, 'app', id), output])
    expect(stateOf(output)).toEqual(expectedState(1))
    execFileSync('sha256sum', ['--check', '--quiet', 'SHA256SUMS'], { cwd: join(directory, 'app', id) })
  })

  it('tells of an object that is gone or was changed, and never restores it', async () => {
    const { at, settings } = await bucketPlace()
    await makeDatabase(at.database)
    await at.ok('create', ['--init'])
    const [{ id = '' } = {}] = await listed(at)
    const Key = `${settings.prefix}/app/${id}/app.db.zst`
    await server.client.send(new DeleteObjectCommand({ Bucket: settings.bucket, Key }))
    const { code, document } = await at.json('verify')
    expect([code, document.results[0].status]).toEqual([4, 'damaged'])
    const restored = await at.run('restore', [id, '--to', join(at.directory, 'x.db')])
    expect(restored.code).toBe(4)
    await server.client.send(
      new DeleteObjectCommand({ Bucket: settings.bucket, Key: `${settings.prefix}/app/${id}/manifest.json` }),
    )
    const list = await at.json('list')
    expect([list.code, list.document.problems[0].status]).toEqual([4, 'damaged'])
  })
})

describe('a run that ends early', () => {
  it('by SIGKILL at any moment leaves nothing listed that is damaged, and the next one needs no help', async () => {
    const { at, settings } = await bucketPlace()
    await makeDatabase(at.database, { rows: 100_000 })
    await at.ok('create', ['--init'])
    const { duration } = await at.ok('create', ['--type', 'full'])
    await atMoments(4, duration, async (kill, index) => {
      await changeDatabase(at.database, index + 1)
      await kill(at.start('create', ['--type', 'full']))
      const { code, document } = await at.json('list')
      expect([code, document.problems]).toEqual([0, []])
      await at.ok('create', ['--type', 'incr'])
      expect((await keysOf(settings)).filter(key => key.includes('.pending'))).toEqual([])
    })
    await at.ok('verify')
  })

  it('by a signal takes back what it wrote', async () => {
    const { at, settings } = await bucketPlace()
    await makeDatabase(at.database, { rows: 100_000 })
    await at.ok('create', ['--init'])
    const before = (await keysOf(settings)).filter(key => !key.includes('/locks/'))
    const proxy = await faultProxy(server.endpoint)
    const running = at.start('create', ['--type', 'full'], { env: { AWS_ENDPOINT_URL_S3: proxy.endpoint } })
    proxy.rule = (_, what) => {
      // A second signal would end it at once.
      if (/^PUT.*app\.db\.zst/.test(what)) running.child.kill('SIGTERM')
      return undefined
    }
    expect((await running.done).code).toBe(143)
    expect((await keysOf(settings)).filter(key => !key.includes('/locks/'))).toEqual(before)
  })

  it('by access refused in mid-run says so and what it needs, and the next run goes on', async () => {
    const { at } = await bucketPlace()
    await makeDatabase(at.database, { rows: 100_000 })
    await at.ok('create', ['--init'])
    const proxy = await faultProxy(server.endpoint)
    proxy.rule = (_, what) => (what.startsWith('PUT') && what.includes('app.db.zst') ? '403' : undefined)
    const env = { AWS_ENDPOINT_URL_S3: proxy.endpoint }
    const refused = await at.run('create', ['--type', 'full'], { env })
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(/^nexus-backup: error: writing s3:.*access denied\nhint: .*s3:PutObject/)
    proxy.rule = () => undefined
    await at.ok('create', ['--type', 'full'], { env })
    await at.ok('verify')
  })
})

describe('an endpoint that is wrong', () => {
  it.each([
    ['http://127.0.0.1:1', 'refuses the connection'],
    ['http://no-such-host.invalid', 'is not known'],
  ])('as %s says that it %s, and how to mend it', async (endpoint, sentence) => {
    const { code, stderr } = await run(['list', '--repo', 's3://backups/db1'], {
      env: { ...server.env, AWS_ENDPOINT_URL_S3: endpoint },
    })
    expect([code, stderr]).toEqual([1, expect.stringContaining(sentence)])
    expect(stderr).toContain('hint: ')
  })

  it('without credentials says which are looked for', async () => {
    const { AWS_ENDPOINT_URL_S3 = '' } = server.env
    const env = { AWS_ENDPOINT_URL_S3, AWS_EC2_METADATA_DISABLED: 'true', HOME: temporaryDirectory() }
    const { code, stderr } = await run(['list', '--repo', 's3://backups/db1'], { env })
    expect([code, stderr]).toEqual([1, expect.stringContaining('no credentials were found')])
    expect(stderr).toContain('AWS_PROFILE')
  })
})

it('HTTPS with an authority of one’s own, credentials by a profile, all from a configuration', async () => {
  const directory = temporaryDirectory()
  const pem = join(directory, 'server.pem')
  const key = join(directory, 'key.pem')
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
      '-keyout',
      key,
      '-out',
      pem,
      ...subject,
    ],
    { stdio: 'pipe' },
  )
  const both = join(directory, 'both.pem')
  writeFileSync(both, readFileSync(key, 'utf8') + readFileSync(pem, 'utf8'))
  const secure = await startS3({ tlsCert: both })
  const settings = await secure.newPlace()
  const credentials = join(directory, 'credentials')
  writeFileSync(
    credentials,
    `[offsite]\naws_access_key_id = ${secure.accessKeyId}\naws_secret_access_key = ${secure.secretAccessKey}\n`,
  )
  const config = join(directory, 'config.yaml')
  const database = join(directory, 'app.db')
  await makeDatabase(database)
  const configure = (more: string) =>
    writeFileSync(
      config,
      `state: ${directory}/state
repositories: { offsite: { s3: { bucket: ${settings.bucket}, prefix: x, endpoint: "${secure.httpsEndpoint}", profile: offsite${more} } } }
sources: { app: { kind: sqlite, path: ${database} } }\n`,
    )
  const env = { AWS_SHARED_CREDENTIALS_FILE: credentials, AWS_EC2_METADATA_DISABLED: 'true' }
  configure('')
  const distrusted = await run(['create', '--init', '--config', config], { env })
  expect([distrusted.code, distrusted.stderr]).toEqual([1, expect.stringContaining('is not to be trusted')])
  expect(distrusted.stderr).toContain('ca_file')
  configure(`, ca_file: ${pem}`)
  expect(await run(['create', '--init', '--config', config], { env })).toMatchObject({ code: 0, stderr: '' })
  expect(await run(['verify', '--drill', '--config', config], { env })).toMatchObject({ code: 0 })
})
