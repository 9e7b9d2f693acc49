import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { gpgHome } from '../keys/gpg-home.js'
import { everyFile, holding } from '../operations/sealing/encrypted.js'
import { makeDatabase } from './helpers/database.js'
import { backupIds, place } from './helpers/place.js'
import { run } from './helpers/run.js'

const passphrase = 'six random words nobody guesses'

describe('an encrypted repository, by the program', () => {
  it('is made, listed, verified and restored; without the key it says what is missing', async () => {
    const here = place()
    await makeDatabase(here.database)
    const key = join(here.directory, 'key')
    const made = await run(['keys', 'create', key, '--json'])
    expect(made.code).toBe(0)
    const { id } = JSON.parse(made.stdout)
    expect((await run(['keys', 'create', key])).code).toBe(2)
    await here.ok('create', ['--init', '--key-file', key])
    await here.ok('create', ['--type', 'incr'])
    expect(backupIds(here)).toHaveLength(2)
    await here.ok('list')
    await here.ok('verify', ['--drill', '--key-file', key])
    await here.ok('verify', [], { env: { NEXUS_BACKUP_KEY_FILE: key } })

    const unread = await here.json('verify')
    expect(unread).toMatchObject({ code: 3, error: { error: { code: 'backup_unread' } } })
    expect(unread.document.results).toMatchObject([{ status: 'unread' }, { status: 'unread' }])
    const target = join(here.directory, 'restored.db')
    const missing = await here.json('restore', ['app', '--to', target])
    expect(missing).toMatchObject({ code: 8, error: { error: { code: 'key_missing' } } })
    expect(missing.error.error.hint).toContain(id)
    const other = join(here.directory, 'other')
    await run(['keys', 'create', other])
    const wrong = await here.json('restore', ['app', '--to', target, '--key-file', other])
    expect(wrong).toMatchObject({ code: 8, error: { error: { code: 'key_wrong' } } })
    chmodSync(other, 0o644)
    const exposed = await here.json('restore', ['app', '--to', target, '--key-file', other])
    expect(exposed).toMatchObject({ code: 8, error: { error: { code: 'secret_exposed' } } })
    await here.ok('restore', ['app', '--to', target, '--key-file', key])
    expect(readFileSync(target).subarray(0, 15).toString()).toBe('SQLite format 3')
    expect(holding(here.repository, 'SQLite format 3')).toEqual([])

    const damaged = join(here.repository, 'app', backupIds(here)[0] ?? '', 'app.db.zst.enc')
    const bytes = readFileSync(damaged)
    bytes[100] = (bytes[100] ?? 0) ^ 1
    writeFileSync(damaged, bytes)
    expect((await here.run('verify')).code).toBe(4)
    expect((await here.run('verify', ['--key-file', key])).code).toBe(4)
  })

  it('keeps every secret out of arguments, outputs, journal, repository and state', async () => {
    const here = place()
    await makeDatabase(here.database)
    const [key, file] = [join(here.directory, 'key'), join(here.directory, 'passphrase')]
    await run(['keys', 'create', key])
    writeFileSync(file, `${passphrase}\n`, { mode: 0o600 })
    const said: string[] = []
    const say = async (command: string, args: string[] = []) => {
      const { stdout, stderr, code } = await here.run(command, [...args, '--verbose'])
      said.push(stdout, stderr)
      return code
    }
    expect(await say('create', ['--init', '--key-file', key, '--passphrase-file', file])).toBe(0)
    expect(await say('verify', ['--passphrase-file', file])).toBe(0)
    expect(await say('verify', ['--passphrase-file', key])).toBe(7)
    expect(await say('verify', ['--key-file', file])).toBe(7)
    expect(await say('list', ['--journal'])).toBe(0)
    const secret = /NEXUS-BACKUP-KEY-1-(\S+)/.exec(readFileSync(key, 'utf8'))?.[1] ?? ''
    expect(secret).toHaveLength(43)
    const raw = Buffer.from(secret, 'base64url')
    for (const hidden of [secret, passphrase, raw.toString('hex'), raw.toString('base64')]) {
      expect(said.join('\n')).not.toContain(hidden)
      for (const directory of [here.repository, here.state]) expect(holding(directory, hidden)).toEqual([])
    }
    for (const directory of [here.repository, here.state]) {
      for (const path of everyFile(directory)) expect(readFileSync(path).includes(raw), path).toBe(false)
    }
  })

  it('is kept by a host with nothing but a public GPG key', async () => {
    const gpg = await gpgHome()
    const env = { GNUPGHOME: await gpg.publicOnly() }
    const here = place()
    await makeDatabase(here.database)
    const config = join(here.directory, 'config.yaml')
    const write = (recipient: string) =>
      writeFileSync(
        config,
        [
          `state: ${here.state}`,
          'repositories:',
          '  local:',
          `    path: ${here.repository}`,
          `    encryption: { recipients: [{ ${recipient} }], max_key_age: 30d }`,
          `sources: { app: { kind: sqlite, path: ${here.database}, checks: ["SELECT count(*) FROM items"] } }`,
        ].join('\n'),
        { mode: 0o600 },
      )
    write(`gpg: ${gpg.fingerprint}`)
    const nexus = (args: string[], home = env) => run([...args, '--config', config], { env: home })
    expect(await nexus(['create', '--init'])).toMatchObject({ code: 0, stderr: '' })
    expect(await nexus(['create', '--type', 'incr', '--verify'])).toMatchObject({ code: 0, stderr: '' })
    expect(backupIds(here).map(id => id.split('-')[1])).toEqual(['full', 'incr'])
    const target = join(here.directory, 'restored.db')
    const refused = await nexus(['restore', 'app', '--to', target, '--json'])
    expect(JSON.parse(refused.stderr)).toMatchObject({ error: { code: 'key_wrong', exit_code: 8 } })
    expect((await nexus(['keys', 'test'])).code).toBe(8)
    const home = { GNUPGHOME: gpg.home }
    expect(await nexus(['keys', 'test'], home)).toMatchObject({ code: 0 })
    expect(await nexus(['restore', 'app', '--to', target], home)).toMatchObject({ code: 0 })
  })

  it('lets recipients be added, listed, removed and rotated', async () => {
    const here = place()
    await makeDatabase(here.database)
    const keys = ['one', 'two'].map(name => join(here.directory, name))
    const [one = '', two = ''] = keys
    for (const key of keys) await run(['keys', 'create', key])
    await here.ok('create', ['--init', '--key-file', one])
    const flags = ['--repo', here.repository, '--state', here.state, '--json']
    const nexus = async (...args: string[]) => {
      const { code, stdout, stderr } = await run(['keys', ...args, ...flags])
      return { code, document: stdout === '' ? {} : JSON.parse(stdout), error: stderr === '' ? {} : JSON.parse(stderr) }
    }
    const added = await nexus('add', `key-file=${two}`, '--label', 'safe', '--key-file', one)
    expect(added).toMatchObject({ code: 0, document: { command: 'keys add', began: false } })
    const [second] = added.document.added
    const listed = await nexus('list')
    const recipients = listed.document.repositories[0].epochs[0].recipients
    expect(recipients).toMatchObject([
      { kind: 'key-file', label: null },
      { id: second, label: 'safe', age_days: 0 },
    ])
    expect(await nexus('test', '--key-file', two)).toMatchObject({ code: 0 })
    expect(await nexus('test')).toMatchObject({ code: 8 })
    const first = recipients[0].id
    expect(await nexus('remove', first)).toMatchObject({ code: 8, error: { error: { code: 'others_untested' } } })
    expect(await nexus('remove', first, '--key-file', two)).toMatchObject({ code: 0 })
    expect(await nexus('remove', second, '--key-file', two)).toMatchObject({
      error: { error: { code: 'last_recipient' } },
    })
    expect(await nexus('rotate', '--key-file', two)).toMatchObject({ code: 0, document: { recipients: [second] } })
    const hosts = (await nexus('list')).document.repositories[0].hosts
    expect(await nexus('trust', hosts[0].id, '--key-file', two)).toMatchObject({ code: 0 })
    expect(await nexus('add', 'passphrase=pasted-secret')).toMatchObject({ code: 2 })
    for (const wrong of ['gpg=1234', 'keyfile=/x', 'aws-kms=key', 'nonsense']) {
      const { code, error } = await nexus('add', wrong)
      expect([code, JSON.stringify(error).includes('pasted')]).toEqual([2, false])
    }
    expect(await run(['keys', 'list', ...flags.slice(0, 4)])).toMatchObject({ code: 0 })
    await here.ok('verify', ['--key-file', two])
  })
})
