import { mkdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { archiveForFetch } from '../../../src/operations/wal/find-archive.js'
import { type Shelf, shelf } from '../shelf.js'
import { segmentContent } from '../wal-shelf.js'
import { clusterSource, settingsOf } from './calls.js'

const now = new Date('2025-12-01T00:00:00Z')
const [seven, eight] = ['7000000000000000007', '8000000000000000008']

/** Puts a segment of a system into a source. */
async function archive({ room }: Shelf, name: string, system: string): Promise<void> {
  await room(name)
    .wal(system)
    .put('000000010000000000000001', segmentContent(1, 1, system), { closedAt: now, now })
}

async function claim({ room }: Shelf, name: string, system: string): Promise<void> {
  const claimed = { kind: 'postgres' as const, host: 'db1', path: null, system_identifier: system }
  await room(name).enter(claimed, { adopt: false, now })
}

async function asked(
  { settings }: Shelf,
  names: readonly string[],
  { system, source }: { system?: string; source?: string } = {},
): Promise<string> {
  const sources = names.map(name => clusterSource(settings.path, { name }))
  const found = await archiveForFetch(settingsOf(sources, [settings]), {
    source,
    systemIdentifier: system,
    cwd: '/nowhere',
  })
  return `${found.room.name} ${found.archive.systemIdentifier}`
}

describe('the archive that WAL is fetched from', () => {
  it('is the one that has WAL of the data directory’s system', async () => {
    const one = await shelf()
    await archive(one, 'a', seven)
    await archive(one, 'b', eight)
    expect(await asked(one, ['a', 'b'], { system: eight })).toBe(`b ${eight}`)
    // Without a configured source the repository is looked through.
    expect(await asked(one, [], { system: seven })).toBe(`a ${seven}`)
    await expect(asked(one, ['a', 'b'], { system: '9' })).rejects.toMatchObject({
      kind: 'failed',
      code: 'wal_source_unknown',
      hint: 'looked at: a, b; name it with --source NAME',
    })
    await archive(one, 'b', seven)
    await expect(asked(one, ['a', 'b'], { system: seven })).rejects.toMatchObject({
      kind: 'failed',
      code: 'wal_source_ambiguous',
      hint: expect.stringContaining('nexus-backup pitr fetch --source NAME %f %p'),
    })
    expect(await asked(one, ['a', 'b'], { system: seven, source: 'a' })).toBe(`a ${seven}`)
  })

  it('may be empty of that system where the source is named: the base carries the WAL it needs', async () => {
    const one = await shelf()
    await archive(one, 'a', seven)
    expect(await asked(one, ['a'], { system: eight, source: 'a' })).toBe(`a ${eight}`)
    expect(await asked(one, [], { system: eight, source: 'a' })).toBe(`a ${eight}`)
  })

  it('is without a data directory that of the claim, else of the only system there', async () => {
    const one = await shelf()
    await archive(one, 'a', seven)
    expect(await asked(one, ['a'])).toBe(`a ${seven}`)
    await archive(one, 'a', eight)
    await expect(asked(one, ['a'])).rejects.toMatchObject({ code: 'wal_source_ambiguous' })
    await claim(one, 'a', eight)
    expect(await asked(one, ['a'])).toBe(`a ${eight}`)
    await claim(one, 'b', seven)
    await expect(asked(one, ['a', 'b'])).rejects.toMatchObject({ code: 'wal_source_ambiguous' })
    expect(await asked(one, ['a', 'b'], { source: 'b' })).toBe(`b ${seven}`)
  })

  it('is never "not in the archive" where the source is not there', async () => {
    const one = await shelf()
    await expect(asked(one, [], { system: seven })).rejects.toMatchObject({
      kind: 'failed',
      code: 'wal_source_unknown',
      hint: 'configure its source (nexus-backup-config(5))',
    })
    mkdirSync(one.path('other'))
    await expect(asked(one, ['a'], { system: seven, source: 'a' })).rejects.toMatchObject({
      kind: 'failed',
      code: 'wal_source_unknown',
      message: 'there is no source "a" in the repository',
    })
  })
})
