import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  defaultChainPolicy,
  type FilesSourceSettings,
  type PostgresSourceSettings,
} from '../../../src/config/settings.js'
import { configuredSource, roomForArchive } from '../../../src/operations/wal/find-source.js'
import type { SourceRoom } from '../../../src/repository/types.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { shelf } from '../shelf.js'
import { clusterSource, settingsOf } from './calls.js'

const now = new Date('2025-12-01T00:00:00Z')
const [seven, eight] = ['7000000000000000007', '8000000000000000008']

/** A repository with configured sources of the kind postgres. */
async function place(...wishes: Partial<PostgresSourceSettings>[]) {
  const { settings: repository, room } = await shelf()
  const sources = wishes.map(wish => clusterSource(repository.path, wish))
  const settings = settingsOf(sources, [repository])
  const claim = (name: string, system: string) => claimed(room(name), system)
  const found = (systemIdentifier: string | undefined, source?: string, cwd = '/nowhere') =>
    roomForArchive(settings, { source, systemIdentifier, cwd })
  return { repository, sources, settings, claim, found }
}

async function claimed(room: SourceRoom, system: string): Promise<void> {
  const claim = { kind: 'postgres' as const, host: 'db1', path: null, system_identifier: system }
  await room.enter(claim, { adopt: false, now })
}

const files: FilesSourceSettings = {
  kind: 'files',
  name: 'uploads',
  paths: ['/srv/uploads'],
  exclude: [],
  include: [],
  repository: { name: 'local', path: '/nonexistent' },
  copies: [],
  checks: [],
  service: null,
  keep: {},
  chain: defaultChainPolicy,
  digestAlgorithm: 'xxh3-128',
}

describe('the source that a cluster’s WAL goes to', () => {
  it('is the one that the system has claimed, else the only one that nobody has', async () => {
    const { claim, found } = await place({ name: 'a' }, { name: 'b' })
    await claim('a', seven)
    expect((await found(seven)).name).toBe('a')
    expect((await found(eight)).name).toBe('b')
  })

  it('is of several the one whose data directory this is', async () => {
    const directory = temporaryDirectory()
    const [one, two, link] = ['one', 'two', 'link'].map(name => join(directory, name))
    if (one === undefined || two === undefined || link === undefined) throw new Error('three names')
    for (const path of [one, two]) mkdirSync(path)
    symlinkSync(two, link)
    const { found } = await place(
      { name: 'a', dataDirectory: one },
      { name: 'b', dataDirectory: link },
      { name: 'c', dataDirectory: join(directory, 'gone') },
      { name: 'd' },
      { name: 'e' },
    )
    expect((await found(seven, undefined, one)).name).toBe('a')
    expect((await found(seven, undefined, two)).name).toBe('b')
    await expect(found(seven, undefined, directory)).rejects.toMatchObject({
      kind: 'usage',
      code: 'wal_source_ambiguous',
      message: expect.stringMatching(/: d, e$/),
      hint: expect.stringContaining('nexus-backup pitr archive --source NAME %p'),
    })
  })

  it('is the one named, whoever has claimed it: it is refused when it is entered', async () => {
    const { claim, found } = await place({ name: 'a' }, { name: 'b' })
    await claim('a', seven)
    expect((await found(eight, 'a')).name).toBe('a')
    expect((await found(undefined, 'b')).name).toBe('b')
  })

  it('is none for a system that none is for, and the hint names the way after an upgrade', async () => {
    const { claim, found } = await place({ name: 'a' }, { name: 'b' })
    await claim('a', seven)
    await claim('b', eight)
    await expect(found('9')).rejects.toMatchObject({
      kind: 'refused',
      code: 'wal_foreign',
      message: `no source is for the WAL of system 9 in /nowhere: a is of system ${seven}, b is of system ${eight}`,
      hint: expect.stringContaining('nexus-backup create a --adopt'),
    })
  })

  it.each<[string, Partial<PostgresSourceSettings>, string | null]>([
    ['another data directory', { dataDirectory: '/' }, 'the data directory /'],
    ['a data directory that is gone', { dataDirectory: '/nonexistent' }, 'the data directory /nonexistent'],
    ['the port of another server', { connection: 'host=/run/postgresql port=5433' }, 'the server on port 5433'],
    ['that port in a URI', { connection: 'postgresql:///crm?host=/run&port=5433' }, 'the server on port 5433'],
    ['the default port, where this server has another one', { connection: 'host=/run' }, 'the server on port 5432'],
    ['its own port', { connection: 'host=/run port=5434' }, null],
    ['whatever libpq finds', { connection: '' }, null],
    ['a service', { connection: 'service=crm host=/run port=5433' }, null],
    ['a server behind the network', { connection: 'host=db.example.com port=5433' }, null],
  ])('is not a free one whose settings name %s', async (_, wish, other) => {
    const cwd = temporaryDirectory()
    writeFileSync(join(cwd, 'postmaster.pid'), `4711\n${cwd}\n1699999999\n5434\n/run\n`)
    const { found, claim } = await place({ name: 'a', ...wish })
    if (other === null) expect((await found(seven, undefined, cwd)).name).toBe('a')
    else {
      await expect(found(seven, undefined, cwd)).rejects.toMatchObject({
        kind: 'refused',
        code: 'wal_foreign',
        message: `no source is for the WAL of system ${seven} in ${cwd}: a is for ${other}`,
        hint: expect.stringContaining('nexus-backup pitr archive --source a %p'),
      })
    }
    // The operator's word, and a claim: a standby may have other paths.
    expect((await found(seven, 'a', cwd)).name).toBe('a')
    await claim('a', seven)
    expect((await found(seven, undefined, cwd)).name).toBe('a')
  })

  it('must be named where there is no data directory', async () => {
    const { found } = await place({ name: 'a' })
    await expect(found(undefined)).rejects.toMatchObject({
      kind: 'usage',
      code: 'no_data_directory',
      message: expect.stringContaining('/nowhere'),
    })
  })

  it('must be configured, or the only thing that is given', async () => {
    const { repository, settings } = await place()
    const asked = { systemIdentifier: seven, cwd: '/nowhere' }
    const none = roomForArchive({ ...settings, file: '/etc/config.yaml' }, { ...asked, source: undefined })
    await expect(none).rejects.toMatchObject({
      kind: 'configuration',
      code: 'wal_source_unknown',
      message: expect.stringContaining('in /etc/config.yaml'),
    })
    expect((await roomForArchive(settings, { ...asked, source: 'plain' })).name).toBe('plain')
    const two = { ...settings, repositories: [repository, { name: 'other', path: '/other' }] }
    await expect(roomForArchive(two, { ...asked, source: 'plain' })).rejects.toMatchObject({
      code: 'wal_source_unknown',
    })
  })

  it('that is misspelt is guessed, else all are named', async () => {
    const { found } = await place({ name: 'consulting' }, { name: 'crm' })
    await expect(found(seven, 'consultin')).rejects.toMatchObject({ hint: "did you mean 'consulting'?" })
    await expect(found(seven, 'zzzzzzzz')).rejects.toMatchObject({ hint: 'the sources are: consulting, crm' })
  })

  it('is of kind postgres', () => {
    const settings = settingsOf([files], [files.repository])
    expect(() => configuredSource(settings, 'uploads')).toThrowError(
      expect.objectContaining({
        kind: 'usage',
        code: 'source_kind',
        message: expect.stringContaining('of kind files'),
      }),
    )
    expect(configuredSource(settings, 'other')).toBeUndefined()
  })
})
