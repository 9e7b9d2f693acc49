import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { inYaml, isEncrypted } from '../helpers/repository-kind.js'
import { storedIn } from '../helpers/stored.js'
import { changeDatabase, makeDatabase } from './helpers/database.js'
import { backupIds, type Place, place } from './helpers/place.js'
import { binary, run, startProcess } from './helpers/run.js'

async function made(): Promise<Place> {
  const at = place()
  await makeDatabase(at.database)
  await at.ok('create', ['--init'])
  return at
}

const B =
  'id source kind type parent captured_at bytes_source bytes_stored blocks_total blocks_stored duration_ms'.split(' ')

/** The keys of design section 7, at least: documents may grow. */
function expectFields(document: Record<string, unknown>, fields: readonly string[]): void {
  expect(Object.keys(document)).toEqual(expect.arrayContaining([...fields]))
}

describe('in a crontab', () => {
  it('every command that succeeds prints nothing, on neither stream', async () => {
    const at = place()
    await makeDatabase(at.database)
    const lines = [
      'create --init',
      'create --type incr --verify --label nightly --keep-until 2099-01-01',
      'create --type full',
      'verify',
      'verify app --drill',
      'restore app --to "$HOME/restored.db"',
      'restore app --in-place --confirm app',
      'restore app --rollback --confirm app',
      'prune app --keep-last 2',
      'pitr restore app --at 2099-01-01T00:00:00Z --to "$HOME/pitr.db"',
    ]
    for (const line of lines) {
      const [command, ...rest] = line.split(' ')
      const shell = `${process.execPath} ${binary} ${command} ${rest.join(' ')} ${at.flags.join(' ')}`
      const { code, stdout, stderr } = await startProcess('/bin/sh', ['-c', shell], {
        env: { HOME: at.directory, SHELL: '/bin/sh', LOGNAME: 'root' },
      }).done
      expect({ line, code, stdout, stderr }).toEqual({ line, code: 0, stdout: '', stderr: '' })
    }
  })

  it.each([
    ['a missing database', 5, async (at: Place) => rmSync(at.database)],
    ['something that is no database', 1, async (at: Place) => writeFileSync(at.database, 'x'.repeat(5000))],
    ['a missing repository', 5, async (at: Place) => storedIn(at.repository).remove('')],
    ['an empty database file', 1, async (at: Place) => writeFileSync(at.database, '')],
  ])('a create that fails for %s prints what failed and what to do next', async (_, status, spoil) => {
    const at = await made()
    await spoil(at)
    const { code, stdout, stderr } = await at.run('create')
    expect({ code, stdout }).toEqual({ code: status, stdout: '' })
    const [what, next, ...more] = stderr.trimEnd().split('\n')
    expect(what).toMatch(/^nexus-backup: error: .+/)
    expect(next).toMatch(/^hint: .+/)
    expect(more).toEqual([])
  })
})

describe('--json', () => {
  it('of create, list, verify, prune and pitr points has the fields of the contract', async () => {
    const at = place()
    await makeDatabase(at.database)
    const created = await at.json('create', ['--init'])
    expect(created.document).toMatchObject({ format_version: '1.0', command: 'create', failures: [] })
    expectFields(created.document.backups[0], [...B, 'repository', 'warnings'])
    expect(created.document.backups[0].captured_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect(created.error).toBeUndefined()
    await changeDatabase(at.database, 1)
    await at.ok('create')
    const ids = backupIds(at)

    const listed = await at.json('list')
    expect(listed.document).toMatchObject({ format_version: '1.0', command: 'list' })
    expect(listed.document.backups.map(({ id }: { id: string }) => id)).toEqual(ids)
    for (const backup of listed.document.backups) expectFields(backup, B)

    const drilled = await at.json('verify', ['--drill'])
    expect(drilled.document).toMatchObject({ format_version: '1.0', command: 'verify' })
    for (const result of drilled.document.results) {
      expectFields(result, ['id', 'status', 'level', 'findings', 'affects'])
    }
    expect(drilled.document.results.at(-1)).toMatchObject({
      id: ids.at(-1),
      status: 'ok',
      level: 'drill',
      drill: { restore_ms: expect.any(Number), checks: expect.any(Array) },
    })

    const points = await at.json('pitr', ['points', 'app'])
    expect(points.document).toMatchObject({ format_version: '1.0', command: 'pitr points', source: 'app', windows: [] })
    expect(points.document.points).toEqual(ids.map(id => ({ id, at: expect.stringMatching(/Z$/) })))

    const planned = await at.json('prune', ['app', '--keep-last', '1', '--dry-run'])
    expect(planned.document).toMatchObject({ format_version: '1.0', command: 'prune', dry_run: true, bytes_freed: 0 })
    for (const kept of planned.document.keep) expectFields(kept, ['id', 'reasons'])
    expect(backupIds(at)).toEqual(ids)
  })

  it('of restore and pitr restore has the fields of the contract, and the undo can be run as it is', async () => {
    const at = await made()
    const beside = await at.json('restore', ['app', '--to', join(at.directory, 'beside.db')])
    const fields = ['id', 'target', 'captured_at', 'previous', 'undo', 'checks', 'duration_ms']
    for (const { document } of [beside, await at.json('restore', ['app', '--in-place', '--confirm', 'app'])]) {
      expect(document).toMatchObject({ format_version: '1.0', command: 'restore', id: backupIds(at)[0] })
      expectFields(document, fields)
      if (document.undo === null) continue
      const undo = document.undo.replace(/^nexus-backup/, `${process.execPath} ${binary}`)
      expect(await startProcess('/bin/sh', ['-c', undo]).done).toMatchObject({ code: 0, stderr: '' })
    }
    expect(beside.document).toMatchObject({ previous: null, undo: null })
    const pitr = ['restore', 'app', '--at', '2099-01-01T00:00:00Z', '--to', join(at.directory, 'pitr.db')]
    const { document } = await at.json('pitr', pitr)
    expect(document).toMatchObject({ format_version: '1.0', command: 'pitr restore' })
    expectFields(document, fields)
  })

  it('prints the document also when a source failed: 3 when others succeeded, 1 when none did', async () => {
    const at = await made()
    const config = join(at.directory, 'config.yaml')
    writeFileSync(
      config,
      [
        `state: ${at.state}`,
        `repositories: { local: ${inYaml(at)} }`,
        'sources:',
        `  app: { kind: sqlite, path: ${at.database} }`,
        `  gone: { kind: sqlite, path: ${at.directory}/gone.db }`,
        `  text: { kind: sqlite, path: ${config} }`,
      ].join('\n'),
    )
    const some = await run(['create', 'app', 'gone', '--json', '--config', config])
    expect(some.code).toBe(3)
    expect(JSON.parse(some.stdout)).toMatchObject({ backups: [{ source: 'app' }], failures: [{ source: 'gone' }] })
    expect(JSON.parse(some.stderr)).toMatchObject({ error: { exit_code: 3 } })
    const none = await run(['create', 'text', 'gone', '--json', '--config', config])
    expect(none.code).toBe(1)
    expect(JSON.parse(none.stdout).failures.map(({ source }: { source: string }) => source)).toEqual(['text', 'gone'])
    for (const failure of JSON.parse(none.stdout).failures) expectFields(failure, ['source', 'code', 'message', 'hint'])
    expect(JSON.parse(none.stderr).error).toMatchObject({ exit_code: 1, hint: expect.anything() })
  })

  it('tells every failure as one object on stderr with its code, exit status, message and hint', async () => {
    const at = await made()
    const failures: [string, string[], number][] = [
      ['create', ['--no-such-option'], 2],
      ['restore', ['app'], 2],
      ['restore', ['20', '--to', '/tmp/never.db', '--force', '--in-place'], 2],
      ['restore', ['app', '--in-place'], 8],
      ['restore', ['app', '--in-place', '--confirm', 'other'], 8],
      ['restore', ['app', '--to', at.database], 8],
      ['restore', ['nothing', '--to', join(at.directory, 'never.db')], 5],
      ['restore', ['app', '--to', join(at.directory, 'no', 'such', 'never.db')], 5],
      ['pitr', ['restore', 'app', '--at', '2001-01-01T00:00:00Z', '--to', join(at.directory, 'never.db')], 5],
      ['verify', ['nothing'], 5],
      ['prune', ['app'], 8],
    ]
    for (const [command, args, status] of failures) {
      const { code, error } = await at.json(command, args)
      expect({ command, args, code }).toEqual({ command, args, code: status })
      expect(error.error).toMatchObject({ code: expect.stringMatching(/^[a-z_]+$/), exit_code: status })
      expect({ args, hint: error.error.hint }).toMatchObject({ args, hint: expect.any(String) })
    }
    const config = join(at.directory, 'wrong.yaml')
    writeFileSync(config, 'repositores: {}')
    const { code, stderr } = await run(['create', '--json', '--config', config])
    expect(code).toBe(7)
    expect(JSON.parse(stderr).error.message).toContain('repositories')
    expect(existsSync('/tmp/never.db')).toBe(false)
  })
})

describe('create', () => {
  it('into a repository that does not exist fails without --init and makes nothing', async () => {
    const at = place()
    await makeDatabase(at.database)
    const before = readdirSync(at.directory)
    const { code, error } = await at.json('create')
    expect(code).toBe(5)
    expect(error.error.hint).toContain('--init')
    expect(readdirSync(at.directory).filter(name => name !== 'state')).toEqual(before)
  })

  it('of a wrong path makes no repository even with --init', async () => {
    const at = place()
    expect((await at.run('create', ['--init'])).code).toBe(5)
    expect(storedIn(at.repository).exists()).toBe(false)
    mkdirSync(at.database)
    expect((await at.run('create', ['--init'])).code).toBe(1)
    expect(storedIn(at.repository).exists()).toBe(false)
  })

  it('refuses names that are shaped like ids or used by the repository itself', async () => {
    const at = place()
    await makeDatabase(at.database)
    for (const name of ['20251103t030000.123z-full-7f3a', 'proofs', 'keys', '../app', 'UPPER', '-x', '']) {
      const { code } = await at.json('create', ['--init', `--name=${name}`])
      expect({ name, code }).toEqual({ name, code: 2 })
    }
    expect(storedIn(at.repository).exists()).toBe(false)
  })

  it('refuses a name that another database has, until --adopt begins a new chain with a full', async () => {
    const at = await made()
    await changeDatabase(at.database, 1)
    await at.ok('create')
    const other = join(at.directory, 'other.db')
    await makeDatabase(other)
    const flags = ['--sqlite', other, '--name', 'app', ...at.flags.slice(2)]
    const refused = await run(['create', ...flags, '--json'])
    expect(refused.code).toBe(8)
    expect(JSON.parse(refused.stderr).error).toMatchObject({ code: 'source_claimed' })
    expect(JSON.parse(refused.stderr).error.message).toContain(at.database)
    expect(JSON.parse(refused.stderr).error.hint).toContain('--adopt')
    expect(backupIds(at)).toHaveLength(2)
    const adopted = await run(['create', ...flags, '--adopt', '--json'])
    expect(JSON.parse(adopted.stdout).backups).toMatchObject([{ type: 'full' }])
    expect(backupIds(at)).toHaveLength(3)
    // Now the name is the other one's.
    expect((await at.run('create')).code).toBe(8)
  })

  it('with --dry-run writes nothing at all and says what it would do', async () => {
    const at = await made()
    const everything = () => [
      ...readdirSync(at.directory, { recursive: true }).map(String).sort(),
      ...storedIn(at.repository).files(),
    ]
    const before = everything()
    const { code, document } = await at.json('create', ['--dry-run'])
    expect(code).toBe(0)
    expect(document.backups).toMatchObject([{ type: 'incr', parent: backupIds(at)[0] }])
    expect(everything()).toEqual(before)
  })
})

describe('a clock that was set back', () => {
  // Nobody can make an encrypted backup look as if it had another id.
  it.skipIf(isEncrypted)('only warns: order and parents go by sequence', async () => {
    const at = await made()
    // The repository as it is when its first backup was made by a clock a century ahead.
    const [id = ''] = backupIds(at)
    const late = id.replace(/^\d{4}/, '2125')
    const stored = storedIn(at.repository)
    for (const name of stored.files(`app/${id}`)) stored.write(name.replace(id, late), stored.read(name))
    stored.remove(`app/${id}`)
    const file = `app/${late}/manifest.json`
    const manifest = JSON.parse(stored.read(file).toString())
    const text = `${JSON.stringify({ ...manifest, id: late, captured_at: manifest.captured_at.replace(/^\d{4}/, '2125') }, null, 2)}\n`
    stored.write(file, text)
    const sums = stored.read(`app/${late}/SHA256SUMS`).toString()
    const sum = createHash('sha256').update(text).digest('hex')
    stored.write(`app/${late}/SHA256SUMS`, sums.replace(/^[0-9a-f]{64}(?= {2}manifest\.json$)/m, sum))

    await changeDatabase(at.database, 1)
    const { code, document } = await at.json('create')
    expect(code).toBe(0)
    expect(document.backups).toMatchObject([{ type: 'incr', parent: late }])
    expect(document.warnings.join()).toContain('clock was set back')
    const latest = document.backups[0].id
    expect((await at.json('list')).document.backups.map((backup: { id: string }) => backup.id)).toEqual([late, latest])
    const restored = await at.json('restore', ['app', '--to', join(at.directory, 'restored.db')])
    expect(restored.document.id).toBe(latest)
    expect((await at.run('verify')).code).toBe(0)
  })
})
