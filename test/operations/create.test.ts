import { existsSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { changeDatabase } from '../end-to-end/helpers/database.js'
import { application } from './application.js'

describe('create', () => {
  it.each(['wal', 'delete'] as const)('makes a full, then increments that hold what changed (%s)', async mode => {
    const app = await application({ database: { mode } })
    const first = await app.create({ verify: true, label: 'before the upgrade', keepUntil: 'forever' })
    expect(first.failures).toEqual([])
    expect(first.backups[0]).toMatchObject({ type: 'full', parent: null, damaged_source: false })
    await changeDatabase(app.source.path, 1)
    const [second] = (await app.create()).backups
    expect(second).toMatchObject({ type: 'incr', parent: first.backups[0]?.id })
    expect(second?.blocks_stored).toBeGreaterThan(0)
    expect(second?.blocks_stored).toBeLessThan(second?.blocks_total ?? 0)
    const [third] = (await app.create({ type: 'diff' })).backups
    expect(third).toMatchObject({ type: 'diff', parent: first.backups[0]?.id, blocks_stored: second?.blocks_stored })
    expect(app.journal.heard).toEqual(['create done', 'create done', 'create done'])
  })

  it('finds the digests of its parent in the chain when the cache is lost', async () => {
    const app = await application({ digestAlgorithm: 'sha256-128' })
    await app.create()
    rmSync(join(app.context.stateDirectory, 'digests'), { recursive: true })
    const [second] = (await app.create()).backups
    expect(second).toMatchObject({ type: 'incr', blocks_stored: 0 })
  })

  it('only plans on a dry run', async () => {
    const app = await application()
    const { backups } = await app.create({ dryRun: true })
    expect(backups[0]).toMatchObject({ id: '', type: 'full', bytes_stored: 0 })
    expect(existsSync(app.source.repository.path)).toBe(false)
    await app.create()
    const [planned] = (await app.create({ dryRun: true })).backups
    expect(planned).toMatchObject({ type: 'incr' })
    await expect(app.create({ dryRun: true, init: false })).resolves.toMatchObject({ failures: [] })
  })

  it('keeps nothing of a source that fails its checks, unless asked to', async () => {
    const app = await application({ checks: ['SELECT count(*) FROM no_such_table'] })
    const refused = await app.create()
    expect(refused.failures[0]).toMatchObject({ kind: 'damage', code: 'source_damaged' })
    expect(refused.failures[0]?.message).toContain('no such table')
    expect(readdirSync(join(app.source.repository.path, 'app')).filter(name => name.startsWith('2025'))).toEqual([])
    const kept = await app.create({ allowDamaged: true })
    expect(kept.backups[0]).toMatchObject({ damaged_source: true, warnings: ['the source failed its checks'] })
    expect(app.journal.heard).toEqual(['create damage', 'create damage'])
  })

  it('goes on with the next source when one fails, and makes no repository for a path that is wrong', async () => {
    const app = await application()
    const missing = { ...app.source, name: 'gone', path: join(app.context.stateDirectory, 'nothing.db') }
    const only = await app.create({ sources: [missing] })
    expect(only.failures[0]).toMatchObject({ source: 'gone', kind: 'not-found', code: 'source_missing' })
    expect(existsSync(app.source.repository.path)).toBe(false)
    const both = await app.create({ sources: [missing, app.source] })
    expect(both.backups).toHaveLength(1)
    expect(both.failures).toHaveLength(1)
  })

  it('makes a full and says so when what it would build on is damaged', async () => {
    const app = await application()
    const [first] = (await app.create()).backups
    truncateSync(join(app.source.repository.path, 'app', first?.id ?? '', 'manifest.json'), 10)
    const [second] = (await app.create({ type: 'incr' })).backups
    expect(second?.type).toBe('full')
    expect(app.warnings.join('\n')).toContain(first?.id)
  })

  it('tells a defect from a failure of the system', async () => {
    const app = await application()
    writeFileSync(app.source.repository.path, 'a file where a directory should be')
    const { failures } = await app.create({ init: false })
    expect(failures[0]?.kind).not.toBe('interrupted')
    expect(failures[0]?.message).toContain(app.source.repository.path)
  })
})
