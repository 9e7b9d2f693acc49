import { createHash } from 'node:crypto'
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { leafCommands } from '../../src/cli/declaration/index.js'
import { runFake } from './fake-io.js'

/** A machine with an encrypted repository, a copy of it, a restore in place behind it, and a segment of WAL. */
interface Machine {
  directory: string
  id: string
  run(...args: string[]): ReturnType<typeof runFake>
  /** The same with a repository that is not there. */
  runWithout(...args: string[]): ReturnType<typeof runFake>
}

/** Command lines that would do something, for every command there is. */
const lines: Readonly<Record<string, (machine: Machine) => string[]>> = {
  create: () => ['create', '--type', 'full'],
  list: () => ['list', '--all'],
  verify: () => ['verify', '--drill'],
  restore: () => ['restore', 'app', '--to', 'restored.db'],
  prune: () => ['prune', '--keep-last', '1'],
  'pitr points': () => ['pitr', 'points', 'app'],
  'pitr restore': () => ['pitr', 'restore', 'app', '--end', '--to', 'restored.db'],
  'pitr check': () => ['pitr', 'check'],
  'pitr archive': () => ['pitr', 'archive', 'pg_wal/000000010000000000000001', '--source', 'main'],
  'pitr fetch': () => ['pitr', 'fetch', '000000010000000000000001', 'pg_wal/RECOVERYXLOG', '--source', 'main'],
  copy: () => ['copy', '--to', 'copy', '--init'],
  diff: ({ id }) => ['diff', id, id],
  'config check': () => ['config', 'check', '--config', 'config.yaml'],
  'config show': () => ['config', 'show'],
  'keys list': () => ['keys', 'list'],
  'keys add': () => ['keys', 'add', 'key-file=second'],
  'keys remove': () => ['keys', 'remove', 'key-0123456789abcdef'],
  'keys rotate': () => ['keys', 'rotate'],
  'keys test': () => ['keys', 'test'],
  'keys create': () => ['keys', 'create', 'third'],
  'keys recovery': () => ['keys', 'recovery'],
  'keys distrust': () => ['keys', 'distrust', 'host-0123456789abcdef'],
  'keys trust': () => ['keys', 'trust', 'host-0123456789abcdef'],
  completion: () => ['completion', 'bash'],
}

/** Every file and directory with what is in it; times of last access apart, all that a command could change. */
function everythingIn(directory: string, prefix = ''): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap(entry => {
    const path = join(directory, entry.name)
    const { mode, mtimeMs, ino } = lstatSync(path)
    if (entry.isDirectory())
      return [`${prefix}${entry.name}/ ${mode}`, ...everythingIn(path, `${prefix}${entry.name}/`)]
    const content = entry.isFile() ? createHash('sha256').update(readFileSync(path)).digest('hex') : 'special'
    return [`${prefix}${entry.name} ${mode} ${mtimeMs} ${ino} ${content}`]
  })
}

function execute(path: string, sql: string): void {
  const database = new Database(path)
  database.exec(sql)
  database.close()
}

async function machine(): Promise<Machine> {
  const directory = mkdtempSync(join(tmpdir(), 'nexus-backup-test-'))
  afterAll(() => rmSync(directory, { recursive: true, force: true }))
  const database = join(directory, 'app.db')
  execute(
    database,
    'CREATE TABLE items AS WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i FROM n',
  )
  const around = {
    cwd: directory,
    env: { PATH: process.env.PATH },
    user: { name: 'tester', uid: process.getuid?.() ?? 0, home: directory },
    now: () => new Date(),
  }
  const placeIn = (repo: string) => ['--sqlite', database, '--repo', repo, '--state', join(directory, 'state')]
  const place = placeIn(join(directory, 'repo'))
  const keys = ['--key-file', join(directory, 'first')]
  const run = (...args: string[]) =>
    runFake([...args, ...(args.includes('--config') ? [] : [...place, ...keys])], around)
  for (const key of ['first', 'second']) expect(await run('keys', 'create', key)).toMatchObject({ status: 0 })
  expect(await run('create', '--init')).toMatchObject({ status: 0 })
  execute(database, 'DELETE FROM items WHERE i % 7 = 0')
  const { stdout } = await run('create', '--json')
  writeFileSync(join(directory, 'config.yaml'), 'repositories: { local: { path: /srv/backups } }\nsources: {}\n')
  mkdirSync(join(directory, 'pg_wal'))
  symlinkSync('app.db', join(directory, 'link'))
  const runWithout = (...args: string[]) =>
    runFake([...args, ...(args.includes('--config') ? [] : [...placeIn(join(directory, 'absent')), ...keys])], around)
  return { directory, run, runWithout, id: JSON.parse(stdout).backups[0].id }
}

describe('--dry-run', () => {
  let at: Machine
  beforeAll(async () => {
    at = await machine()
  })

  it('is tried on every command', () => {
    expect(Object.keys(lines).sort()).toEqual(
      leafCommands()
        .map(({ name }) => name)
        .sort(),
    )
  })

  it.each(Object.entries(lines))('changes nothing: %s', async (_name, line) => {
    const before = everythingIn(at.directory)
    await at.run(...line(at), '--dry-run', '--yes')
    expect(everythingIn(at.directory)).toEqual(before)
  })

  it('of verify says what would be read and restored, and needs no key', async () => {
    const { status, stdout } = await at.run('verify', 'app', '--drill', '--dry-run')
    expect(status).toBe(0)
    expect(stdout).toMatch(
      /^app: would verify 2 backups \(.*\) in \/.*\/repo\napp: would restore \S+ into scratch space\n$/,
    )
    const { plan, results } = JSON.parse((await at.run('verify', at.id, '--dry-run', '--json')).stdout)
    expect(results).toEqual([])
    expect(plan).toMatchObject([{ source: 'app', backups: [expect.any(String), at.id], wal: false, drill: [] }])
    expect((await at.run('verify', 'nothing', '--dry-run')).status).toBe(5)
  })
})

describe('a repository that is not there', () => {
  it('is told with a hint that helps the command', async () => {
    const at = await machine()
    const hints: Record<string, string> = {}
    for (const [name, line] of Object.entries(lines)) {
      const { stderr } = await at.runWithout(...line(at))
      if (!stderr.includes('no repository at')) continue
      hints[name] = /^hint: (.*)$/m.exec(stderr)?.[1] ?? ''
    }
    const { create, ...others } = hints
    expect(create).toMatch(/To make a new repository there: nexus-backup .*create .*--init$/)
    expect(Object.keys(others)).toEqual(
      expect.arrayContaining([
        'list',
        'verify',
        'restore',
        'prune',
        'copy',
        'pitr points',
        'pitr fetch',
        'keys distrust',
      ]),
    )
    expect(Object.keys(others).filter(name => name.startsWith('keys ')).length).toBeGreaterThan(6)
    for (const [name, hint] of Object.entries(others)) {
      expect(hint, name).toMatch(/^is the disk mounted \(findmnt\)\? Name the repository with --repo DIR/)
      expect(hint, name).not.toContain('--init')
    }
  })
})
