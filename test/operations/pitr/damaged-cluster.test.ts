import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { points } from '../../../src/operations/points.js'
import { SOURCE } from '../../end-to-end/helpers/cluster.js'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'
import { archiving, type BackedUpCluster, backedUpCluster } from '../clusters.js'

let cluster: TestCluster
let at: BackedUpCluster
let damaged: string

/** One table with a page that is not what was written, and a sound one. */
beforeAll(async () => {
  cluster = await startCluster({ lean: true, initdb: ['--data-checksums'], settings: archiving })
  await cluster.psql('CREATE TABLE broken AS SELECT g, md5(g::text) FROM generate_series(1, 1000) g')
  await cluster.psql('CREATE TABLE sound (word text)')
  const file = join(cluster.directory, await cluster.psql("SELECT pg_relation_filepath('broken')"))
  await cluster.stop()
  const bytes = readFileSync(file)
  bytes[8192 + 100] = (bytes[8192 + 100] ?? 0) ^ 0xff
  writeFileSync(file, bytes)
  await cluster.start()
  at = backedUpCluster(cluster)
})

describe('a cluster with a damaged page', () => {
  it('is not backed up unasked, and relation and block are named', async () => {
    await expect(at.backUp('full')).rejects.toThrow(/block 1\b.*: table public\.broken of the database postgres/)
  })

  it('is backed up with a mark where that is allowed, and its log leads on from it', async () => {
    const { id, damaged_source } = await at.backUp('full', { allowDamaged: true })
    damaged = id
    expect(damaged_source).toBe(true)
    await cluster.psql("INSERT INTO sound VALUES ('after')")
    await at.archive()
    const found = await points(at.context, [at.source.repository], SOURCE)
    expect(found).toMatchObject({ points: [{ id }], windows: [], of_damaged: [{ timeline: 1 }] })
  })

  it('is restored to an instant when the damage is allowed by name, and it is told', async () => {
    await expect(at.restore({ start: null })).rejects.toMatchObject({
      kind: 'refused',
      code: 'damaged_source',
      hint: expect.stringContaining('--allow-damaged'),
    })
    const result = await at.restore({ allowDamaged: true })
    expect(result).toMatchObject({ id: damaged, damage: expect.stringContaining('table public.broken') })
    expect(result.notes.join()).toContain('was made of a damaged cluster')
    const copy = await startCluster({ directory: result.target })
    expect(await copy.psql('SELECT word FROM sound')).toBe('after')
  })

  it('that was mended carries a window of its own with the next increment', async () => {
    await cluster.psql('DROP TABLE broken')
    await cluster.psql('CHECKPOINT')
    const { id, damaged_source } = await at.backUp('incr')
    expect(damaged_source).toBe(false)
    await cluster.psql("INSERT INTO sound VALUES ('mended')")
    await at.archive()
    expect((await points(at.context, [at.source.repository], SOURCE)).windows).toHaveLength(1)
    const result = await at.restore({ start: null })
    expect(result).toMatchObject({ id })
    expect(result).not.toHaveProperty('damage')
  })
})
