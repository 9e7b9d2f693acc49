import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { makeDatabase } from '../end-to-end/helpers/database.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { runFake } from './fake-io.js'

/** A desk with a database, a repository to be made and keys. */
async function desk() {
  const directory = temporaryDirectory()
  const database = join(directory, 'app.db')
  await makeDatabase(database)
  const [repo, state] = [join(directory, 'repo'), join(directory, 'state')]
  const place = ['--repo', repo, '--state', state]
  const around = {
    cwd: directory,
    env: process.env,
    user: { name: 'tester', uid: process.getuid?.() ?? 0, home: directory },
  }
  const run = (...args: string[]) => runFake([...args, ...place], around)
  return { directory, database, repo, around, run, path: (name: string) => join(directory, name) }
}

describe('keys', () => {
  it('makes key files, and shows on a dry run what it would do', async () => {
    const { run, path } = await desk()
    expect(await run('keys', 'create', 'key', '--dry-run', '--verbose')).toMatchObject({
      status: 0,
      stdout: `would write ${path('key')}\n`,
    })
    expect(existsSync(path('key'))).toBe(false)
    const made = await run('keys', 'create', 'key', '--verbose')
    expect(made).toMatchObject({ status: 0, stdout: expect.stringMatching(/key: key-[0-9a-f]{16}; keep a copy/) })
    expect(statSync(path('key')).mode & 0o777).toBe(0o600)
    expect((await run('keys', 'create', 'key')).status).toBe(2)
  })

  it('shows, adds, tests, removes, rotates and trusts, in words', async () => {
    const { run, path, database } = await desk()
    for (const name of ['one', 'two']) await run('keys', 'create', name)
    const create = await run('create', '--sqlite', database, '--init', '--key-file', path('one'))
    expect(create, create.stderr).toMatchObject({ status: 0 })
    expect(await run('keys', 'add', 'key-file=two', '--dry-run', '--key-file', 'one')).toMatchObject({ status: 0 })
    const added = await run('keys', 'add', 'key-file=two', '--key-file', 'one', '--verbose', '--label', 'safe')
    expect(added).toMatchObject({ status: 0, stdout: expect.stringContaining('opens for key-') })
    const listed = await run('keys', 'list')
    expect(listed.stdout).toMatch(/EPOCH +RECIPIENT +KIND +AGE +LABEL/)
    expect(listed.stdout).toContain('safe')
    expect(listed.stdout).toMatch(/SIGNS +HOST +SINCE +TRUSTED/)
    const tested = await run('keys', 'test', '--key-file', 'two')
    expect(tested.stdout).toMatch(/opens {2}key-[0-9a-f]{16}/)
    expect(tested.stdout).toContain('not tried')
    const none = await run('keys', 'test')
    expect(none).toMatchObject({ status: 8, stderr: expect.stringContaining('nothing on this host opens') })
    const id = /key-[0-9a-f]{16}/.exec(added.stdout)?.[0] ?? ''
    const would = await run('keys', 'remove', id, '--key-file', 'one', '--dry-run')
    expect(would).toMatchObject({ status: 0, stdout: expect.stringContaining('would no longer open') })
    expect(await run('keys', 'rotate', '--key-file', 'one', '--without', id, '--dry-run')).toMatchObject({ status: 0 })
    const rotated = await run('keys', 'rotate', '--key-file', 'one', '--without', id, '--verbose')
    expect(rotated).toMatchObject({ status: 0, stdout: expect.stringContaining('began 2') })
    const signer = /^([0-9a-f]{16}) +test-host/m.exec(listed.stdout)?.[1] ?? ''
    const trusted = await run('keys', 'trust', signer, '--key-file', 'one', '--verbose')
    expect(trusted).toMatchObject({ status: 0, stdout: expect.stringContaining('vouched for as the key of test-host') })
  })

  it('says what is no recipient, without repeating what may be a secret', async () => {
    const { run } = await desk()
    for (const [word, hint] of [
      ['passphrase=hunter2', 'asked for'],
      ['gpg=ABCD', 'whole fingerprint'],
      ['keyfile=/x', 'did you mean key-file'],
      ['hunter2', 'give key-file=FILE'],
      ['aws-kms=hunter2', 'give key-file=FILE'],
    ] as const) {
      const { status, stderr } = await run('keys', 'add', word)
      expect(status, word).toBe(2)
      expect(stderr).toContain(hint)
      expect(stderr).not.toContain('hunter2')
    }
  })

  it('of a plain repository says so, and that encryption can be turned on', async () => {
    const { run, database, path } = await desk()
    await run('create', '--sqlite', database, '--init')
    expect((await run('keys', 'list')).stdout).toContain('is not encrypted')
    expect(await run('keys', 'test')).toMatchObject({ status: 5, stdout: expect.stringContaining('is not encrypted') })
    expect((await run('keys', 'rotate')).status).toBe(5)
    await run('keys', 'create', path('key'))
    const refused = await run('create', '--sqlite', database, '--key-file', 'key')
    expect(refused).toMatchObject({ status: 8, stderr: expect.stringContaining('keys add') })
    const added = await run('keys', 'add', 'key-file=key', '--verbose')
    expect(added.stdout).toContain('encrypted from now on')
    expect((await run('create', '--sqlite', database)).status).toBe(0)
  })

  it('needs to know which repository is to be changed', async () => {
    const { around } = await desk()
    const { status, stderr } = await runFake(['keys', 'rotate', '--config', '/dev/null'], around)
    expect([status, stderr.includes('which repository') || stderr.includes('configuration')]).toEqual([status, true])
    expect(status).not.toBe(0)
  })

  it('asks nobody where there is no terminal', async () => {
    const { run, database } = await desk()
    const { status, stderr } = await run('create', '--sqlite', database, '--init', '--passphrase-file', 'none')
    expect([status, stderr.includes('cannot read the passphrase file')]).toEqual([7, true])
  })
})
