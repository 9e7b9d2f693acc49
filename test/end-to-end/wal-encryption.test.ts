import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { inYaml } from '../helpers/repository-kind.js'
import { storedIn } from '../helpers/stored.js'
import { holding } from '../operations/sealing/encrypted.js'
import { run, startProcess } from './helpers/run.js'
import { type WalPlace, walPlace } from './helpers/wal-place.js'

const key = (here: WalPlace) => join(here.directory, 'key')

/** An encrypted repository with the configuration for it; `keyFile` says what the server's host may open. */
async function encrypted(): Promise<WalPlace & { state: string; configure(keyFile: string | undefined): void }> {
  const here = await walPlace({ plain: true })
  const state = join(here.directory, 'state')
  const configure = (keyFile: string | undefined) =>
    writeFileSync(
      here.config,
      [
        `state: ${state}`,
        `repositories: { local: ${inYaml({ repository: here.repository, keyFile })} }`,
        'sources: { main: { kind: postgres } }',
      ].join('\n'),
    )
  await run(['keys', 'create', key(here)])
  configure(key(here))
  return { ...here, state, configure, storedName: name => `${here.storedName(name)}.enc` }
}

const flags = (here: WalPlace) => ['--config', here.config]

describe('the log in an encrypted repository', () => {
  it('is refused while the repository is plain, archived without the private half, fetched with it', async () => {
    const here = await encrypted()
    const names = here.ready([1, 2, 3, 4, 5, 6])
    const [first = '', second = ''] = names
    expect(await here.archiveSegment(first)).toMatchObject({
      code: 8,
      stderr: expect.stringContaining('not encrypted'),
    })
    expect(await run(['keys', 'add', `key-file=${key(here)}`, ...flags(here)])).toMatchObject({ code: 0 })
    rmSync(key(here))
    here.configure(undefined)
    expect(await here.archiveSegment(first)).toMatchObject({ code: 0, stderr: '' })
    const stored = storedIn(here.repository)
    for (const name of names) expect(stored.files()).toContain(here.storedName(name))
    // Notes answer for what was looked ahead to; the mark for what is asked again.
    expect(await here.withoutNode(['pitr', 'archive', `pg_wal/${second}`])).toBe(0)
    expect(await here.archiveSegment(first)).toMatchObject({ code: 0, stderr: '' })
    const fetch = (name: string, words: string[] = []) =>
      here.call(['pitr', 'fetch', name, 'pg_wal/RECOVERYXLOG', ...words])
    expect(await fetch(first)).toMatchObject({ code: 126, stderr: expect.stringContaining('encrypted') })
    expect(await fetch('000000010000000000000077')).toMatchObject({ code: 5 })
    const unread = await run(['verify', ...flags(here), '--json'])
    expect(unread.code).toBe(3)
    expect(JSON.parse(unread.stdout).results.at(-1)).toMatchObject({ status: 'unread' })
    const bytes = stored.read(here.storedName(second))
    bytes[bytes.length - 5] = (bytes[bytes.length - 5] ?? 0) ^ 1
    stored.write(here.storedName(second), bytes)
    expect((await run(['verify', ...flags(here)])).code).toBe(4)
  })

  it('comes back byte for byte with a key file, the segments fetched ahead too', async () => {
    const here = await encrypted()
    await run(['keys', 'add', `key-file=${key(here)}`, ...flags(here)])
    const names = here.ready([1, 2, 3, 4])
    const [first = ''] = names
    expect(await here.archiveSegment(first)).toMatchObject({ code: 0, stderr: '' })
    for (const name of names) {
      expect(await here.call(['pitr', 'fetch', name, 'pg_wal/RECOVERYXLOG'])).toMatchObject({ code: 0, stderr: '' })
      const got = readFileSync(join(here.data, 'pg_wal/RECOVERYXLOG'))
      expect(got.equals(readFileSync(join(here.data, 'pg_wal', name))), name).toBe(true)
    }
    expect(await run(['verify', ...flags(here)])).toMatchObject({ code: 0 })
    const repository = storedIn(here.repository).asDirectory()
    const system = join(repository, here.storedName(first), '..', '..')
    const recover = (name: string, ...more: string[]) =>
      startProcess(process.execPath, [join(repository, 'recover.mjs'), '--wal', system, name, 'RECOVERED', ...more], {
        cwd: here.data,
      }).done
    expect(await recover(first, '--key-file', key(here))).toMatchObject({ code: 0, stderr: '' })
    expect(readFileSync(join(here.data, 'RECOVERED')).equals(readFileSync(join(here.data, 'pg_wal', first)))).toBe(true)
    expect(await recover(first)).toMatchObject({ code: 126, stderr: expect.stringContaining('no key at hand') })
    expect(await recover('000000010000000000000077', '--key-file', key(here))).toMatchObject({ code: 1, stderr: '' })
    const page = readFileSync(join(here.data, 'pg_wal', first)).subarray(2000, 2040)
    expect(holding(repository, page.toString('latin1'))).toEqual([])
  })

  it('stays with the server where this host can keep no key to sign it with', async () => {
    const here = await encrypted()
    await run(['keys', 'add', `key-file=${key(here)}`, ...flags(here)])
    const [first = ''] = here.ready([1])
    // A file in the way: nobody can make or read anything below it.
    rmSync(here.state, { recursive: true })
    writeFileSync(here.state, '')
    const refused = await here.call(['pitr', 'archive', join(here.data, 'pg_wal', first)])
    expect(refused).toMatchObject({ code: 8, stderr: expect.stringContaining('wants its WAL signed') })
  })
})
