import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { planRestore, restore } from '../../../src/operations/restore.js'
import { rollback } from '../../../src/operations/rollback.js'
import { verify } from '../../../src/operations/verify.js'
import { differences, noise } from '../../sources/files/trees.js'
import { type Directories, directories } from '../directories.js'

/** Attachments and a log of some blocks. */
function filled(wishes: Parameters<typeof directories>[0] = {}): Directories {
  const at = directories(wishes)
  mkdirSync(join(at.uploads, 'ticket-1'))
  for (let file = 0; file < 5; file += 1)
    writeFileSync(join(at.uploads, 'ticket-1', `${file}`), noise(file * 3000, file))
  writeFileSync(join(at.uploads, 'large.bin'), noise(600_000, 1))
  chmodSync(join(at.uploads, 'large.bin'), 0o640)
  linkSync(join(at.uploads, 'large.bin'), join(at.uploads, 'same-as-large.bin'))
  symlinkSync('large.bin', join(at.uploads, 'latest'))
  writeFileSync(join(at.logs, 'app.log'), noise(300_000, 2))
  return at
}

function liveOn({ uploads, logs }: Directories): void {
  renameSync(join(uploads, 'ticket-1/4'), join(uploads, 'ticket-1/renamed'))
  rmSync(join(uploads, 'ticket-1/1'))
  appendFileSync(join(logs, 'app.log'), noise(5000, 3))
}

const to = (path: string, force = false) => ({ kind: 'path' as const, path, force })

function expectSame(at: Directories, below: string, expected: ReturnType<Directories['picture']>): void {
  const actual = at.picture(below)
  expect([...differences(actual.uploads, expected.uploads), ...differences(actual.logs, expected.logs)]).toEqual([])
}

describe('directories backed up', () => {
  it('come back as they were from every backup of a chain', async () => {
    const at = filled()
    const pictures = [at.picture()]
    const backups = [await at.backUp()]
    for (const type of ['incr', 'diff'] as const) {
      liveOn(at)
      writeFileSync(join(at.uploads, 'ticket-1/4'), `made for the ${type}`)
      writeFileSync(join(at.uploads, 'ticket-1/1'), type)
      pictures.push(at.picture())
      backups.push(await at.backUp({ type }))
    }
    expect(backups.map(({ type, kind, warnings }) => [type, kind, warnings])).toEqual([
      ['full', 'files', []],
      ['incr', 'files', []],
      ['diff', 'files', []],
    ])
    const [full, incr] = backups
    expect(incr?.bytes_stored).toBeLessThan((full?.bytes_stored ?? 0) / 2)
    expect(incr?.blocks_stored).toBeLessThan(incr?.blocks_total ?? 0)
    for (const [index, { id }] of backups.entries()) {
      const path = join(at.room, `to-${index}`)
      const result = await restore(at.context, at.journal, at.restoring(to(path), { backup: id }))
      expect(result).toMatchObject({ command: 'restore', id, target: path, previous: null, undo: null })
      expect(result.checks).toEqual([
        { name: 'restored', status: 'ok', detail: expect.stringMatching(/^\d+ entries, every block/) },
      ])
      expectSame(at, path, pictures[index] ?? at.picture())
    }
    expect(readdirSync(at.room).filter(name => name.startsWith('.'))).toEqual([])
  })

  it('are not backed up at all when a root is missing', async () => {
    const at = filled()
    rmSync(at.logs, { recursive: true })
    await expect(at.backUp()).rejects.toThrow('"kind":"not-found","code":"source_missing"')
    expect(existsSync(join(at.room, 'repository/up'))).toBe(false)
  })

  it('are drilled: restored into scratch space, which is empty afterwards', async () => {
    const at = filled()
    const { id } = await at.backUp()
    const request = { repositories: [at.source.repository], sources: [at.source], targets: [], drill: true }
    const { results } = await verify(at.context, at.journal, request)
    const drilled = results.find(result => result.id === id)
    expect(drilled).toMatchObject({ status: 'ok', level: 'drill', findings: [] })
    expect(drilled?.drill?.checks).toEqual([
      { name: 'restored', status: 'ok', detail: expect.stringMatching(/^\d+ entries$/) },
    ])
    expect(drilled?.drill?.restore_ms).toBeGreaterThan(0)
    const left = readdirSync(join(at.room, 'state'), { recursive: true, encoding: 'utf8' })
    expect(left.filter(name => name.includes('drill'))).toEqual([])
  })
})

describe('a restore to a path', () => {
  it('takes an empty directory for the place that was offered', async () => {
    const at = filled()
    await at.backUp()
    const path = join(at.room, 'empty')
    mkdirSync(path)
    expect((await planRestore(at.context, at.restoring(to(path)))).replaces).toBe(false)
    expect(await restore(at.context, at.journal, at.restoring(to(path)))).toMatchObject({ previous: null, undo: null })
    expectSame(at, path, at.picture())
    expect(readdirSync(at.room).filter(name => name.startsWith('empty'))).toEqual(['empty'])
  })

  it('replaces nothing unless it is forced, and then keeps it, with the command that brings it back', async () => {
    const at = filled()
    const { id } = await at.backUp()
    const path = join(at.room, 'mine')
    mkdirSync(path)
    writeFileSync(join(path, 'mine'), 'mine')
    await expect(planRestore(at.context, at.restoring(to(path)))).rejects.toMatchObject({
      kind: 'refused',
      code: 'target_exists',
      hint: expect.stringContaining('--force'),
    })
    const forced = at.restoring(to(path, true))
    const plan = await planRestore(at.context, forced)
    expect(plan).toMatchObject({ id, chain: [id], target: path, replaces: true, in_place: false, service: null })
    const result = await restore(at.context, at.journal, { ...forced, previous: plan.previous })
    expect([result.previous, readFileSync(join(result.previous ?? '', 'mine'), 'utf8')]).toEqual([
      plan.previous,
      'mine',
    ])
    expectSame(at, path, at.picture())
    expect(result.undo).toBe(`nexus-backup restore up --rollback --to ${path}`)
    const source = { kind: 'path', name: 'up', path, repository: '' } as const
    const back = await rollback(at.context, at.journal, { source, dryRun: false })
    expect(readdirSync(path)).toEqual(['mine'])
    expect(back.undo).toBe(result.undo)
  })

  it('says which directory is missing', async () => {
    const at = filled()
    await at.backUp()
    await expect(planRestore(at.context, at.restoring(to(join(at.room, 'no where/to'))))).rejects.toMatchObject({
      kind: 'not-found',
      code: 'target_directory_missing',
      hint: `make it first: mkdir -p '${at.room}/no where'`,
    })
  })

  it('of a damaged backup leaves nothing, and what it would have replaced as it was', async () => {
    const at = filled()
    const { id } = await at.backUp()
    const part = join(at.room, 'repository/up', id, 'up.tar.zst')
    const bytes = readFileSync(part)
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
    writeFileSync(part, bytes)
    const path = join(at.room, 'mine')
    mkdirSync(path)
    writeFileSync(join(path, 'mine'), 'mine')
    await expect(restore(at.context, at.journal, at.restoring(to(path, true)))).rejects.toMatchObject({
      kind: 'damage',
    })
    expect([readdirSync(path), readdirSync(at.room).filter(name => name.startsWith('.'))]).toEqual([['mine'], []])
    expect(at.journal.heard.at(-1)).toBe('restore damage')
  })
})
