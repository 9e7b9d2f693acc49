import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type WalPlace, walPlace } from '../end-to-end/helpers/wal-place.js'
import { system } from '../sources/postgres/segments.js'
import { runFake } from './fake-io.js'

const to = 'pg_wal/RECOVERYXLOG'
const unknown = '0000000100000000000000FF'

/** Calls the program as the server does, within this process. */
function call(at: WalPlace, words: readonly string[]): ReturnType<typeof runFake> {
  return runFake(['--config', at.config, ...words], { cwd: at.data, env: { TMPDIR: at.temporary } })
}

/** Lines of the note that a call left for another file. */
function noteOf(at: WalPlace, name: string): string[] {
  return linesIn(join(at.data, 'pg_wal/.nexus-backup', name))
}

function linesIn(path: string): string[] {
  return readFileSync(path, 'utf8').split('\n')
}

describe('pitr archive', () => {
  it('is quiet, and leaves notes by which the shell answers calls alike without us', async () => {
    const at = await walPlace()
    const [first = '', second = ''] = at.ready([1, 2])
    expect(await call(at, ['pitr', 'archive', `pg_wal/${first}`])).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(await at.archive.names()).toEqual([first, second])
    const [heading, key, , , config] = noteOf(at, `${second}.stored`)
    expect(heading).toBe('nexus-backup note 1')
    expect(key?.split('|')).toEqual([
      'archive',
      at.data,
      ...Array(6).fill(''),
      '--config',
      at.config,
      'pitr',
      'archive',
      'pg_wal/%',
    ])
    expect(config).toMatch(new RegExp(`^= \\d+ \\d+ [\\d.]+ ${at.config}$`))
  })

  it('names the file and what else was done when it is asked to, and then leaves no notes', async () => {
    const at = await walPlace()
    const [first = '', second = ''] = at.ready([1, 2])
    expect(await call(at, ['pitr', 'archive', '--verbose', `pg_wal/${first}`])).toMatchObject({
      status: 0,
      stdout: `${first}: stored in main\n`,
    })
    const { status, stdout } = await call(at, ['pitr', 'archive', '--json', `pg_wal/${second}`])
    expect([status, JSON.parse(stdout)]).toEqual([
      0,
      {
        format_version: '1.0',
        command: 'pitr archive',
        source: 'main',
        system_identifier: system,
        name: second,
        result: 'stored',
        ahead: [],
      },
    ])
    expect(existsSync(join(at.data, 'pg_wal/.nexus-backup'))).toBe(false)
  })

  it('says of every failure what and why, below 126', async () => {
    const at = await walPlace()
    const [name = ''] = at.ready([1])
    rmSync(join(at.data, 'pg_wal', name))
    const { status, stderr } = await call(at, ['pitr', 'archive', `pg_wal/${name}`])
    expect([status, stderr]).toEqual([1, expect.stringMatching(/^nexus-backup: error: cannot read .*\nhint: /)])
    expect((await call(at, ['pitr', 'archive', 'pg_wal/nonsense'])).status).toBe(2)
    at.ready([1])
    expect((await call(at, ['pitr', 'archive', '--source', 'other', `pg_wal/${name}`])).status).toBe(7)
    expect(await at.archive.names()).toEqual([])
  })
})

describe('pitr fetch', () => {
  it('is quiet, and takes the next one ahead for the same call', async () => {
    const at = await walPlace()
    const [first = '', second = ''] = at.ready([1, 2])
    await call(at, ['pitr', 'archive', `pg_wal/${first}`])
    const words = ['pitr', 'fetch', '--source', 'main', first, to]
    expect(await call(at, words)).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(readFileSync(join(at.data, to)).equals(readFileSync(join(at.data, 'pg_wal', first)))).toBe(true)
    const [, key, file, config, control] = linesIn(at.aside(`${second}.fetched.note`))
    expect(key?.endsWith(`|pitr|fetch|--source|main|%|${to}`)).toBe(true)
    expect(file).toContain(`${second}.fetched`)
    expect(config).toContain(at.config)
    expect(control).toMatch(/^# \d+ global\/pg_control$/)
  })

  it('shows where it put the file when it is asked to', async () => {
    const at = await walPlace()
    const [name = ''] = at.ready([1])
    await call(at, ['pitr', 'archive', `pg_wal/${name}`])
    const path = join(at.data, to)
    expect(await call(at, ['pitr', 'fetch', '--verbose', name, to])).toMatchObject({
      stdout: `${name} of main: ${path}\n`,
    })
    const { stdout } = await call(at, ['pitr', 'fetch', '--json', name, to])
    expect(JSON.parse(stdout)).toMatchObject({ command: 'pitr fetch', name, path, ahead: [] })
  })

  it('ends with 5 for what is not archived and with 126 for everything else', async () => {
    const at = await walPlace()
    const [name = ''] = at.ready([1])
    await call(at, ['pitr', 'archive', `pg_wal/${name}`])
    expect((await call(at, ['pitr', 'fetch', unknown, to])).status).toBe(5)
    for (const words of [['nonsense', to], [name], [name, 'no/such/directory'], ['--source', 'other', name, to]]) {
      expect((await call(at, ['pitr', 'fetch', ...words])).status, words.join(' ')).toBe(126)
    }
    const json = await call(at, ['pitr', 'fetch', '--json', '--source', 'other', name, to])
    expect(JSON.parse(json.stderr).error).toMatchObject({ code: 'wal_source_unknown', exit_code: 126 })
  })
})
