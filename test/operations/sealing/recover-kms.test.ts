import { execFile } from 'node:child_process'
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { kmsKey, useFakeKms } from '../../keys/fake-kms.js'
import { encryptedApplication } from './encrypted.js'

useFakeKms()

/** What `aws kms decrypt` would print for a blob of the fake KMS, asked with the same words; else it fails. */
const fakeAws = `#!/usr/bin/env node
const { readFileSync } = require('node:fs')
const words = process.argv.slice(2)
const after = name => words[words.indexOf(name) + 1]
const blob = JSON.parse(readFileSync(after('--ciphertext-blob').replace('fileb://', '')))
const [name, value] = after('--encryption-context').split('=')
const asked = words[0] === 'kms' && words[1] === 'decrypt' && after('--query') === 'Plaintext' && after('--output') === 'text'
if (!asked || blob.key !== after('--key-id') || blob.context !== JSON.stringify({ [name]: value })) process.exit(254)
console.log(blob.plain)
`

function execute(program: string, args: string[], cwd: string, path = ''): Promise<{ code: number; stderr: string }> {
  const env = { ...process.env, PATH: `${path}:${process.env.PATH}` }
  return new Promise(resolve => {
    execFile(program, args, { cwd, env }, (error, _, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stderr }),
    )
  })
}

it('recover.mjs says what to ask AWS KMS, and takes the answer from a file', async () => {
  const app = await encryptedApplication([{ kind: 'aws-kms', key: kmsKey }])
  const { backups } = await app.create()
  const repository = app.source.repository.path
  const directory = temporaryDirectory()
  writeFileSync(join(directory, 'aws'), fakeAws)
  chmodSync(join(directory, 'aws'), 0o755)
  const recover = (...more: string[]) => {
    const words = [join(repository, 'recover.mjs'), join(repository, 'app', backups[0]?.id ?? ''), 'out.db', ...more]
    return execute(process.execPath, words, directory)
  }
  const asked = await recover()
  expect(asked.code).toBe(1)
  expect(asked.stderr).toContain('is not at hand')
  const commands = asked.stderr.split('\n').filter(line => line.startsWith('  '))
  expect(commands).toHaveLength(3)
  expect(commands[2]).toContain('aws kms decrypt --region eu-central-1')
  expect(await execute('sh', ['-e', '-c', commands.join('\n')], directory, directory)).toEqual({ code: 0, stderr: '' })
  expect(statSync(join(directory, 'epoch-key')).mode & 0o777).toBe(0o600)
  // The answer of KMS is the secret itself: nothing of it was in any command.
  const answer = readFileSync(join(directory, 'epoch-key'), 'utf8').trim()
  expect(commands.join()).not.toContain(answer)
  expect(await recover('--epoch-key-file', 'epoch-key')).toEqual({ code: 0, stderr: '' })
  expect(readdirSync(directory).sort()).toEqual(['aws', 'epoch-blob', 'epoch-key', 'out.db'])
  expect(readFileSync(join(directory, 'out.db')).equals(readFileSync(app.source.path))).toBe(true)
})

it('recover.mjs tells another epoch’s secret from what is no secret at all', async () => {
  const app = await encryptedApplication([{ kind: 'aws-kms', key: kmsKey }])
  const { backups } = await app.create()
  const repository = app.source.repository.path
  const directory = temporaryDirectory()
  const recover = async (text: string) => {
    writeFileSync(join(directory, 'key'), text)
    const words = [join(repository, 'recover.mjs'), join(repository, 'app', backups[0]?.id ?? ''), 'out.db']
    return execute(process.execPath, [...words, '--epoch-key-file', 'key'], directory)
  }
  expect((await recover(`${Buffer.alloc(32, 7).toString('base64')}\n`)).stderr).toContain('key holds no key of it')
  for (const text of ['', 'None\n', 'AAAA\n']) {
    expect(await recover(text)).toMatchObject({ code: 1, stderr: expect.stringContaining('not what aws kms decrypt') })
  }
})
