import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import { describe, expect, it } from 'vitest'
import { s3Location } from '../../src/repository/storage/s3/settings.js'
import { startCluster } from '../helpers/postgres.js'
import { startS3 } from '../helpers/s3-server.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { gpgHome } from '../keys/gpg-home.js'
import { everyFile, holding } from '../operations/sealing/encrypted.js'
import { clusterPlace, SOURCE } from './helpers/cluster.js'
import { changeDatabase, makeDatabase } from './helpers/database.js'
import { place } from './helpers/place.js'
import { binary, run, startProcess } from './helpers/run.js'

const server = await startS3()
const passphrase = 'six random words nobody guesses'
const password = 'the-password-of-the-database'

/** A program that writes down its arguments and its environment, and becomes the real one. */
function spiedOn(real: string, directory: string, log: string): void {
  const path = join(directory, real.slice(real.lastIndexOf('/') + 1))
  writeFileSync(path, `#!/bin/sh\n{ echo "@ $0 $*"; env; } >> '${log}'\nexec '${real}' "$@"\n`)
  chmodSync(path, 0o755)
}

/** What spied programs wrote down, by the program's name. */
function overheard(log: string): Map<string, string> {
  const heard = new Map<string, string>()
  for (const entry of readFileSync(log, 'utf8').split('@ ').slice(1)) {
    const name = entry.split(/\s/)[0]?.split('/').at(-1) ?? ''
    heard.set(name, (heard.get(name) ?? '') + entry)
  }
  return heard
}

async function which(program: string): Promise<string> {
  return (await execa('sh', ['-c', `command -v ${program}`])).stdout
}

describe('secrets', () => {
  it('of keys, bucket and database are in no output, journal, repository, state or other program', async () => {
    const settings = await server.newPlace()
    const at = place(temporaryDirectory())
    await makeDatabase(at.database)
    const gpg = await gpgHome()
    const [key, second, file] = ['key', 'second', 'passphrase'].map(name => join(at.directory, name)) as [
      string,
      string,
      string,
    ]
    for (const path of [key, second]) expect((await run(['keys', 'create', path])).code).toBe(0)
    writeFileSync(file, `${passphrase}\n`, { mode: 0o600 })
    const spies = join(at.directory, 'spies')
    const log = join(at.directory, 'overheard')
    mkdirSync(spies)
    for (const program of ['gpg', 'cp', 'getent', 'id', 'sync']) spiedOn(await which(program), spies, log)
    const env = {
      ...server.env,
      PATH: `${spies}:${process.env.PATH}`,
      GNUPGHOME: gpg.home,
      PGPASSWORD: password,
      AWS_SESSION_TOKEN: '',
    }
    const offsite = s3Location(settings)
    const said: string[] = []
    const say = async (words: string[]) => {
      for (const more of [['--verbose'], ['--verbose', '--json']]) {
        if (more.length === 2 && /^(?:restore|keys add|create)/.test(words.join(' '))) continue
        const { code, stdout, stderr } = await run([...words, ...more], { env })
        said.push(stdout, stderr)
        expect([words, code, stderr]).toEqual([words, 0, expect.any(String)])
      }
    }
    const means = ['--key-file', key, '--passphrase-file', file]
    await say(['create', '--init', ...means, ...at.flags])
    const keys = (...words: string[]) => say(['keys', ...words, '--repo', at.repository, '--state', at.state, ...means])
    await keys('add', `gpg=${gpg.fingerprint}`)
    await keys('add', `key-file=${second}`)
    await keys('list')
    await keys('test')
    await keys('remove', `key-${/key ([0-9a-f]{16})/.exec(readFileSync(second, 'utf8'))?.[1]}`, '--dry-run')
    await say(['verify', '--drill', ...means, ...at.flags])
    await changeDatabase(at.database, 1)
    await say(['create', ...at.flags])
    await say(['copy', 'app', '--to', offsite, '--init', '--repo', at.repository, '--state', at.state])
    await say(['verify', '--repo', offsite, '--state', at.state, ...means])
    await say(['restore', 'app', '--in-place', '--confirm', 'app', '--passphrase-file', file, ...at.flags])
    await say(['list', '--journal', ...at.flags])

    const secrets = [passphrase, password, server.secretAccessKey]
    const raws: Buffer[] = []
    for (const path of [key, second]) {
      const encoded = /NEXUS-BACKUP-KEY-1-(\S+)/.exec(readFileSync(path, 'utf8'))?.[1] ?? ''
      const raw = Buffer.from(encoded, 'base64url')
      expect(raw).toHaveLength(32)
      raws.push(raw)
      secrets.push(encoded, raw.toString('hex'), raw.toString('base64'))
    }
    const bucket = temporaryDirectory()
    await server.download(settings, bucket)
    const heard = overheard(log)
    expect([...heard.keys()]).toEqual(expect.arrayContaining(['gpg', 'cp']))
    for (const secret of secrets) {
      expect(said.join('\n')).not.toContain(secret)
      for (const [program, text] of heard) expect([program, text.includes(secret)]).toEqual([program, false])
      for (const directory of [at.repository, at.state, bucket, dirname(at.database)]) {
        expect(holding(directory, secret)).toEqual([])
      }
    }
    for (const path of [at.repository, at.state, bucket].flatMap(everyFile)) {
      for (const raw of raws) expect(readFileSync(path).includes(raw), path).toBe(false)
    }
  })

  it('reach PostgreSQL’s programs only where they are needed: no bucket’s, and a server no password', async () => {
    const cluster = await startCluster()
    const spies = join(cluster.room, 'spies')
    const log = join(cluster.room, 'overheard')
    mkdirSync(spies)
    chmodSync(spies, 0o755)
    writeFileSync(log, '')
    chmodSync(log, 0o666)
    for (const name of readdirSync(cluster.bin)) spiedOn(join(cluster.bin, name), spies, log)
    const settings = await server.newPlace()
    const { bucket, prefix, endpoint } = settings
    const yaml = `{ s3: { bucket: ${bucket}, prefix: "${prefix}", endpoint: "${endpoint}" } }`
    const env = { ...server.env, PGPASSWORD: password }
    const s3 = { yaml, url: s3Location(settings), env }
    const at = clusterPlace(cluster, { s3, more: [`bin_directory: ${spies}`] })
    await at.backUp('full')
    await at.ok('verify', [SOURCE, '--drill'])
    const heard = overheard(log)
    expect([...heard.keys()]).toEqual(expect.arrayContaining(['psql', 'pg_basebackup', 'postgres']))
    for (const [program, text] of heard) {
      expect([program, text.includes(server.secretAccessKey)]).toEqual([program, false])
    }
    expect(heard.get('pg_basebackup')).toContain(`PGPASSWORD=${password}`)
    expect(heard.get('postgres')).not.toContain(password)
    // An argument would be seen by everybody.
    for (const text of heard.values()) expect(text.split('\n')[0]).not.toContain(password)
  })
})

describe.each(['022', '000'])('at umask %s', umask => {
  it('whatever is made is for its owner only', async () => {
    const at = place()
    await makeDatabase(at.database)
    const key = join(at.directory, 'key')
    const masked = async (...words: string[]) => {
      const script = `umask ${umask}; exec "$0" "$@"`
      const done = await startProcess('/bin/sh', ['-c', script, process.execPath, binary, ...words]).done
      expect([words, done.code, done.stderr]).toEqual([words, 0, ''])
    }
    await masked('keys', 'create', key)
    await masked('create', '--init', '--key-file', key, ...at.flags)
    await masked('create', '--type', 'incr', ...at.flags)
    await masked('verify', '--key-file', key, ...at.flags)
    await masked('keys', 'rotate', '--key-file', key, '--repo', at.repository, '--state', at.state)
    const copy = join(at.directory, 'copy')
    await masked('copy', 'app', '--to', copy, '--init', '--repo', at.repository, '--state', at.state)
    await masked('prune', 'app', '--keep-last', '1', ...at.flags)
    const restored = join(at.directory, 'restored.db')
    await masked('restore', 'app', '--to', restored, '--key-file', key, ...at.flags)
    const open: string[] = []
    for (const root of [at.repository, at.state, copy]) {
      for (const name of ['', ...readdirSync(root, { recursive: true, encoding: 'utf8' })]) {
        const status = statSync(join(root, name))
        const wanted = status.isDirectory() ? 0o700 : 0o600
        if ((status.mode & 0o777) !== wanted) open.push(`${(status.mode & 0o777).toString(8)} ${join(root, name)}`)
      }
    }
    expect(open).toEqual([])
    expect(statSync(key).mode & 0o777).toBe(0o600)
    // A database has the mode that it had.
    expect(statSync(restored).mode).toBe(statSync(at.database).mode)
  })
})
