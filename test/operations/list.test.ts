import { mkdirSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { list } from '../../src/operations/list.js'
import { testContext } from '../helpers/context.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { passed, type Shelf, shelf } from './shelf.js'

const ask = (shelves: Shelf[], source?: string, all = false) =>
  list(testContext(), { repositories: shelves.map(({ settings }) => settings), source, all })

describe('list', () => {
  it('reports what the contract says of each backup', async () => {
    const one = await shelf()
    const id = await one.add(1, { checks: passed, label: 'before the move', keep_until: 'forever', warnings: ['slow'] })
    expect(await ask([one])).toEqual({
      command: 'list',
      untrusted: [],
      problems: [],
      backups: [
        {
          id,
          source: 'itsm',
          kind: 'sqlite',
          type: 'full',
          parent: null,
          captured_at: '2025-11-01T03:00:00.000Z',
          bytes_source: 8192,
          bytes_stored: 64,
          blocks_total: 2,
          blocks_stored: 2,
          duration_ms: 12,
          repository: one.settings.path,
          warnings: ['slow'],
          damaged_source: false,
          incomplete: false,
          status: 'ok',
          proven: true,
          label: 'before the move',
          keep_until: 'forever',
          host: 'db1',
        },
      ],
    })
  })

  it('puts the oldest first across sources and repositories', async () => {
    const [one, two] = [await shelf('one'), await shelf('two')]
    const ids = [
      await one.add(1, { source: 'web' }),
      await two.add(2, { source: 'app' }),
      await one.add(3, { source: 'app' }),
      await one.add(4, { source: 'web' }),
    ]
    const { backups } = await ask([one, two])
    expect(backups.map(({ id }) => id)).toEqual(ids)
    expect(backups.map(({ repository }) => repository)).toEqual(
      [one, two, one, one].map(({ settings }) => settings.path),
    )
  })

  it('keeps the order of sequence within a source although the clock was set back', async () => {
    const one = await shelf()
    const ids = [await one.add(5), await one.add(2), await one.add(6)]
    const other = await one.add(4, { source: 'app' })
    const { backups } = await ask([one])
    expect(backups.map(({ id }) => id)).toEqual([other, ...ids])
    expect((await ask([one], 'itsm')).backups.map(({ id }) => id)).toEqual(ids)
  })

  it('names damaged backups, and those that stand on them, always; partial ones with --all', async () => {
    const one = await shelf()
    const sound = await one.add(1)
    const robbed = await one.add(2)
    const child = await one.add(3, { type: 'incr', parent: robbed })
    one.rob(robbed)
    mkdirSync(one.path('itsm', '.partial-20251104T030000.000Z-full-0000'))
    const { backups, problems } = await ask([one])
    expect(backups.map(({ id }) => id)).toEqual([sound])
    const place = { source: 'itsm', repository: one.settings.path, status: 'damaged' }
    expect(problems).toEqual([
      { id: child, ...place, problem: `cannot be restored: its parent ${robbed} is damaged` },
      { id: robbed, ...place, problem: expect.stringContaining('manifest.json') },
    ])
    const everything = await ask([one], undefined, true)
    expect(everything.problems.map(({ id, status }) => [id, status])).toEqual([
      [child, 'damaged'],
      [robbed, 'damaged'],
      ['20251104T030000.000Z-full-0000', 'partial'],
    ])
  })

  it('believes the newest verify: damage is a problem until a later one passes', async () => {
    const one = await shelf()
    const id = await one.add(1, { checks: passed })
    const proof = { id, level: 'stored' as const, findings: [] }
    await one.room('itsm').addProof({ ...proof, at: '2025-11-05T00:00:00.000Z', status: 'damaged' })
    expect(await ask([one])).toMatchObject({
      backups: [],
      problems: [{ id, problem: 'the verify of 2025-11-05T00:00:00.000Z found it damaged' }],
    })
    await one.room('itsm').addProof({ ...proof, at: '2025-11-06T00:00:00.000Z', status: 'ok' })
    expect(await ask([one])).toMatchObject({ backups: [{ id, proven: true }], problems: [] })
  })

  it('does not lose sight of the backups when a proof cannot be read', async () => {
    const one = await shelf()
    const id = await one.add(1, { checks: passed })
    await one.room('itsm').addProof({ id, at: '2025-11-05T00:00:00.000Z', status: 'ok', level: 'stored', findings: [] })
    writeFileSync(one.path('itsm', 'proofs', `${id}-20251105T000000.000Z.json`), '{')
    expect(await ask([one])).toMatchObject({ backups: [{ id }], problems: [] })
  })

  it('answers for an unknown source with the nearest known name', async () => {
    const one = await shelf()
    await one.add(1)
    await expect(ask([one], 'itms')).rejects.toMatchObject({
      kind: 'not-found',
      code: 'source_not_found',
      hint: 'did you mean itsm?',
    })
    await expect(ask([one], 'consulting')).rejects.toMatchObject({ hint: 'there are backups of: itsm' })
    await expect(ask([await shelf()], 'itsm')).rejects.toMatchObject({ kind: 'not-found' })
  })

  it('is empty for an empty repository, and not found for none', async () => {
    expect(await ask([await shelf()])).toEqual({ command: 'list', backups: [], untrusted: [], problems: [] })
    const repositories = [{ name: 'local', path: temporaryDirectory() }]
    await expect(list(testContext(), { repositories, source: undefined, all: false })).rejects.toMatchObject({
      kind: 'not-found',
    })
  })
})
