import { execFileSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { s3Location } from '../../src/repository/storage/s3/settings.js'
import { startS3 } from '../helpers/s3-server.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { holding } from '../operations/sealing/encrypted.js'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { place } from './helpers/place.js'
import { run } from './helpers/run.js'

const server = await startS3()

/** What every page of the test's database begins with somewhere, and what SQLite writes at its very beginning. */
const plainTexts = ['SQLite format 3', 'CREATE TABLE']

async function newKey(): Promise<string> {
  const key = join(temporaryDirectory(), 'key')
  expect((await run(['keys', 'create', key])).code).toBe(0)
  return key
}

describe('an encrypted repository in a bucket', () => {
  it('takes chains, opens on a bare machine with bucket and key alone, and shows nobody else anything', async () => {
    const settings = await server.newPlace()
    const repository = s3Location(settings)
    const at = place(temporaryDirectory(), { repository, env: server.env })
    const key = await newKey()
    await makeDatabase(at.database)
    await at.ok('create', ['--init', '--key-file', key])
    await changeDatabase(at.database, 1)
    await at.ok('create', ['--type', 'incr'])
    await changeDatabase(at.database, 2)
    await at.ok('create', ['--type', 'diff'])
    await at.ok('verify', ['--drill', '--key-file', key])
    expect((await at.json('verify')).code).toBe(3)

    const bare = temporaryDirectory()
    const flags = ['--repo', repository, '--state', join(bare, 'state')]
    const restored = join(bare, 'app.db')
    const without = await run(['restore', 'app', '--to', restored, ...flags], { env: server.env })
    expect([without.code, without.stderr]).toEqual([8, expect.stringContaining('--key-file')])
    const opened = await run(['restore', 'app', '--to', restored, '--key-file', key, ...flags], { env: server.env })
    expect(opened).toMatchObject({ code: 0 })
    expect(stateOf(restored)).toEqual(expectedState(2))

    const thief = temporaryDirectory()
    await server.download(settings, thief)
    for (const text of plainTexts) expect(holding(thief, text)).toEqual([])
    const ids = readdirSync(join(thief, 'app')).filter(name => /^\d{8}T/.test(name))
    const output = join(thief, 'out')
    const [, incr = ''] = ids.sort()
    execFileSync(process.execPath, [join(thief, 'recover.mjs'), join(thief, 'app', incr), output, '--key-file', key])
    expect(stateOf(output)).toEqual(expectedState(1))
  })

  it('is the copy of an encrypted directory, byte for byte, made without any key', async () => {
    const directory = temporaryDirectory()
    const database = join(directory, 'app.db')
    await makeDatabase(database)
    const key = await newKey()
    const settings = await server.newPlace()
    const config = join(directory, 'config.yaml')
    const configure = (recipients: string) =>
      writeFileSync(
        config,
        `state: ${directory}/state
repositories:
  local: { path: ${directory}/local${recipients} }
  offsite: { s3: { bucket: ${settings.bucket}, prefix: "${settings.prefix}", endpoint: "${settings.endpoint}" } }
sources: { app: { kind: sqlite, path: ${database}, repository: local, copies: [offsite] } }\n`,
      )
    configure(`, encryption: { recipients: [{ key_file: ${key} }] }`)
    const command = (...args: string[]) => run([...args, '--config', config], { env: server.env })
    expect(await command('create', '--init')).toMatchObject({ code: 0, stderr: '' })
    configure('')
    await changeDatabase(database, 1)
    expect(await command('create', '--type', 'incr')).toMatchObject({ code: 0, stderr: '' })
    const restored = join(directory, 'back.db')
    const flags = ['--repo', s3Location(settings), '--state', join(directory, 'bare'), '--key-file', key]
    expect(await run(['restore', 'app', '--to', restored, ...flags], { env: server.env })).toMatchObject({ code: 0 })
    expect(stateOf(restored)).toEqual(expectedState(1))
    const thief = temporaryDirectory()
    await server.download(settings, thief)
    for (const text of plainTexts) expect(holding(thief, text)).toEqual([])
  })
})
