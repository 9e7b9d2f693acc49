import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { temporaryDirectory } from '../helpers/temporary.js'
import { runFake } from './fake-io.js'
import { created, failure, pruned } from './fixtures.js'

const operations = vi.hoisted(() => ({ copy: vi.fn(), create: vi.fn(), prune: vi.fn() }))
vi.mock('../../src/operations/copy.js', () => ({ copy: operations.copy }))
vi.mock('../../src/operations/create.js', () => ({ create: operations.create }))
vi.mock('../../src/operations/prune.js', () => ({ prune: operations.prune }))

const report = {
  source: 'itsm',
  from: '/local',
  to: '/offsite',
  backups: ['a', 'b'],
  wal: 3,
  bytes: 4096,
  problems: [],
}
const missed = { ...failure('itsm'), to: '/offsite' }

beforeEach(() => {
  vi.resetAllMocks()
  operations.copy.mockResolvedValue({ command: 'copy', dry_run: false, copies: [report], failures: [] })
})

function configuration(copies = '[offsite]', keep = '{ daily: 30 }'): string[] {
  const file = join(temporaryDirectory(), 'config.yaml')
  writeFileSync(
    file,
    `state: /nonexistent/state
repositories:
  local: { path: /local }
  offsite: { path: /offsite }
sources:
  itsm: { kind: sqlite, path: /itsm.db, repository: local, keep: ${keep}, copies: ${copies} }
  other: { kind: sqlite, path: /other.db, repository: local }
`,
    { mode: 0o600 },
  )
  return ['--config', file, '--state', temporaryDirectory()]
}

const tasks = () =>
  operations.copy.mock.calls[0]?.[2].tasks.map(({ source, from, to }: never) => {
    return [source, (from as { path: string }).path, (to as { path: string }).path]
  })

describe('copy', () => {
  it('takes every source that has copies to each of them', async () => {
    const run = await runFake(['copy', ...configuration(), '--verbose'])
    expect(run.status).toBe(0)
    expect(tasks()).toEqual([['itsm', '/local', '/offsite']])
    expect(run.stdout).toBe('itsm: copied 2 backups and 3 files of the log, 4.0 KiB to /offsite\n')
  })

  it('is silent in cron when all went well', async () => {
    const run = await runFake(['copy', ...configuration()])
    expect([run.stdout, run.stderr]).toEqual(['', ''])
  })

  it('takes names of the configuration, directories and buckets for --from and --to', async () => {
    await runFake(['copy', 'itsm', '--from', 'offsite', '--to', '/usb', '--init', ...configuration()])
    expect(tasks()).toEqual([['itsm', '/offsite', '/usb']])
    expect(operations.copy.mock.calls[0]?.[2].init).toBe(true)
  })

  it('needs no configuration', async () => {
    await runFake(['copy', 'itsm', '--repo', '/a', '--to', 's3://bucket/prefix'])
    expect(tasks()).toEqual([['itsm', '/a', 's3://bucket/prefix']])
  })

  it('says what to write when there is nowhere to copy to', async () => {
    const run = await runFake(['copy', 'other', ...configuration()])
    expect(run.status).toBe(2)
    expect(run.stderr).toContain('--to REPO')
  })

  it('ends with 3 when one of several copies failed, with its own status when all failed alike', async () => {
    const both = configuration('[offsite]')
    operations.copy.mockResolvedValue({ command: 'copy', dry_run: false, copies: [], failures: [missed] })
    const alone = await runFake(['copy', ...both])
    expect(alone.status).toBe(1)
    expect(alone.stderr).toContain('itsm was not copied to /offsite: it broke')
    operations.copy.mockResolvedValue({ command: 'copy', dry_run: false, copies: [report], failures: [missed] })
    const partly = await runFake(['copy', 'itsm', 'other', '--to', '/offsite', ...both])
    expect(partly.status).toBe(3)
  })

  it('ends with 4 when damaged backups were left out', async () => {
    const problems = [{ id: 'x', source: 'itsm', repository: '/local', status: 'damaged', problem: 'no manifest' }]
    operations.copy.mockResolvedValue({
      command: 'copy',
      dry_run: false,
      copies: [{ ...report, problems }],
      failures: [],
    })
    expect((await runFake(['copy', ...configuration()])).status).toBe(4)
  })
})

describe('create with copies', () => {
  it('ends with 3 when the backup is made and a copy is not, and says how to catch up', async () => {
    operations.create.mockResolvedValue(created({ copy_failures: [missed] }))
    const run = await runFake(['create', 'itsm', ...configuration()])
    expect(run.status).toBe(3)
    expect(run.stderr).toMatch(/hint: .* nexus-backup --config \S+ --state \S+ copy$/m)
  })
})

describe('prune with copies', () => {
  const asked = () =>
    operations.prune.mock.calls[0]?.[2].sources.map(({ repository, keep }: never) => {
      return [(repository as { path: string }).path, keep]
    })

  it('gives each repository its own retention', async () => {
    operations.prune.mockResolvedValue(pruned())
    await runFake(['prune', 'itsm', ...configuration('[{ repository: offsite, keep: { monthly: 36 } }]')])
    expect(asked()).toEqual([
      ['/local', { daily: 30 }],
      ['/offsite', { monthly: 36 }],
    ])
  })

  it('never turns rules of the command line against a copy', async () => {
    operations.prune.mockResolvedValue(pruned())
    await runFake(['prune', 'itsm', '--keep-last', '1', ...configuration()])
    expect(asked()).toEqual([['/local', { last: 1 }]])
  })
})

describe('copies in a configuration', () => {
  it.each([
    ['[offsit]', "no repository 'offsit'; did you mean 'offsite'?"],
    ['[local]', "'local' is the repository that copies are made from"],
    ['[offsite, offsite]', "'offsite' stands twice"],
    ['[{ repository: offsite, keep: { dayly: 3 } }]', 'copies'],
    ['offsite', 'must be a list of repositories'],
  ])('%s is refused: %s', async (copies, message) => {
    const run = await runFake(['copy', ...configuration(copies)])
    expect(run.status).toBe(7)
    expect(run.stderr).toContain(message)
  })

  it('are shown as they are in effect', async () => {
    const run = await runFake(['config', 'show', '--json', ...configuration()])
    const { repositories, sources } = JSON.parse(run.stdout)
    expect(Object.keys(repositories)).toEqual(['local', 'offsite'])
    expect(sources.itsm.copies).toEqual([{ repository: 'offsite', keep: { daily: 30 } }])
  })
})
