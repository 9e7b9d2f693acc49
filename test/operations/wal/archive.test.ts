import { existsSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openRepository } from '../../../src/repository/open.js'
import { MIB } from '../../end-to-end/helpers/wal-place.js'
import { controlBytes, segmentBytes, system } from '../../sources/postgres/segments.js'
import { now, walCalls } from './calls.js'

describe('archiving a file of pg_wal', () => {
  it('stores it under its system and timeline, and claims the source', async () => {
    const at = await walCalls()
    const [name = ''] = at.ready([1])
    const result = await at.archiveFile(name, { ahead: null })
    expect(result).toEqual({
      command: 'pitr archive',
      source: 'main',
      system_identifier: system,
      name,
      result: 'stored',
      ahead: [],
    })
    expect((await at.archive.read(name)).plain.equals(at.plain(name))).toBe(true)
    const header = await at.archive.header(name)
    expect(header).toMatchObject({ archived_at: now.toISOString(), bytes: MIB, system_identifier: system })
    // Rounded up: no commit in it is later.
    const late = Date.parse(header.closed_at) - statSync(at.wal(name)).mtimeMs
    expect(late >= 0 && late < 1.001, `${late} ms`).toBe(true)
    expect(await (await openRepository(at.repository)).source('main').claim()).toEqual({
      kind: 'postgres',
      host: 'db1',
      path: null,
      system_identifier: system,
    })
  })

  it('takes the same again and never another content under its name', async () => {
    const at = await walCalls()
    const [name = ''] = at.ready([1])
    await at.archiveFile(name)
    expect((await at.archiveFile(name)).result).toBe('identical')
    at.ready([1], { fill: 99 })
    await expect(at.archiveFile(name)).rejects.toMatchObject({ kind: 'refused', code: 'wal_differs' })
    expect((await at.archive.read(name)).plain.equals(segmentBytes(1, { fill: 1 }))).toBe(true)
  })

  it('does nothing on a dry run but look', async () => {
    const at = await walCalls()
    const [name = ''] = at.ready([1])
    expect(await at.archiveFile(name, { dryRun: true })).toMatchObject({ result: 'planned', system_identifier: system })
    expect(existsSync(join(at.repository, 'main'))).toBe(false)
    writeFileSync(at.wal(name), segmentBytes(2))
    await expect(at.archiveFile(name, { dryRun: true })).rejects.toMatchObject({ kind: 'refused' })
  })

  it('knows a segment by itself where there is no data directory, and a history by the claim', async () => {
    const at = await walCalls()
    const [name = ''] = at.ready([1])
    const history = '00000002.history'
    writeFileSync(at.wal(history), '1\t0/300000\tno recovery target specified\n')
    rmSync(join(at.data, 'global/pg_control'))
    const named = { source: 'main', ahead: null }
    const unknown = at.archiveFile(history, named)
    await expect(unknown).rejects.toMatchObject({ kind: 'usage', code: 'no_data_directory' })
    expect(await at.archiveFile(name, named)).toMatchObject({ result: 'stored', system_identifier: system })
    expect(await at.archiveFile(history, named)).toMatchObject({ result: 'stored', system_identifier: system })
    await expect(at.archiveFile(name)).rejects.toMatchObject({
      kind: 'usage',
      code: 'no_data_directory',
      hint: expect.stringContaining('--source NAME'),
    })
  })

  it('refuses a second system for a source that is claimed', async () => {
    const at = await walCalls()
    await at.archiveFile(at.ready([1])[0] ?? '')
    writeFileSync(join(at.data, 'global/pg_control'), controlBytes('42'))
    const [name = ''] = at.ready([2], { systemIdentifier: '42' })
    await expect(at.archiveFile(name)).rejects.toMatchObject({
      kind: 'refused',
      code: 'wal_foreign',
      message: expect.stringContaining(`main is of system ${system}`),
      hint: expect.stringContaining('nexus-backup create main --adopt'),
    })
    await expect(at.archiveFile(name, { source: 'main' })).rejects.toMatchObject({ kind: 'refused' })
    expect(await at.archive.names()).toHaveLength(1)
  })

  it('lets two that claim at the same instant both archive', async () => {
    const at = await walCalls()
    const names = at.ready([1, 2, 3, 4])
    const results = await Promise.all(names.map(name => at.archiveFile(name, { ahead: null })))
    expect(results.map(({ result }) => result)).toEqual(['stored', 'stored', 'stored', 'stored'])
    expect(await at.archive.names()).toEqual(names)
  })
})
