import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { startCluster, type TestCluster } from '../helpers/postgres.js'
import { isEncrypted } from '../helpers/repository-kind.js'
import { type ClusterChain, clusterChain, flipCluster } from './helpers/cluster-flips.js'
import {
  command,
  expectDamage,
  expectRefused,
  hostileCluster,
  recovering,
  type Wrong,
  within,
} from './helpers/hostile-cluster.js'

vi.mock(import('../../src/repository/proofs.js'), async original => {
  return { ...(await original()), writeProof: async () => {} }
})

let cluster: TestCluster
beforeAll(async () => {
  cluster = await startCluster({ lean: true })
})

let made: ClusterChain | undefined
/** Made once: every test copies it. */
async function template(): Promise<ClusterChain> {
  made ??= await clusterChain(cluster)
  return made
}

describe('verify of a cluster’s chain', () => {
  // test/soak/cluster.test.ts flips many more.
  it('finds flipped bytes in every part, and names the backups that they take down', async () =>
    flipCluster(await template(), 1))
})

const ownFile = { type: 'file', mode: 0o600, uid: 0, gid: 0, owner: '', group: '', mtime: 0, size: 0, link: '' }
const plain = { ...ownFile, sparse: false, base: null, facts: {} }
/** A first file that is in every cluster. */
const named = (entries: Wrong[], path: string) => entries.find(entry => entry.path === path)

// Without the key nobody can write another list of entries; what is changed in an encrypted one is found above.
describe.skipIf(isEncrypted)('a hostile repository of a cluster', () => {
  it('is refused for what it changes only: one that changes nothing is accepted', async () => {
    const at = hostileCluster(await template())
    for (const index of [0, 1])
      at.entries(index, entries => (named(entries, 'PG_VERSION').facts = { note: 'harmless' }))
    expect(await command(at, ['verify'])).toMatchObject({ code: 0 })
    const id = at.ids[1] ?? ''
    expect(await command(at, ['restore', id, '--to', join(at.directory, 'restored')])).toMatchObject({ code: 0 })
    expect(recovering(at, id, join(at.directory, 'recovered'))).toMatchObject({ status: 0, stderr: '' })
  })

  const cases: [string, number, (entries: Wrong[], outside: string) => void][] = [
    ['a file that climbs out', 0, entries => entries.push({ ...plain, path: '../outside/new' })],
    ['a file that climbs out from inside', 0, entries => entries.push({ ...plain, path: 'base/../../outside/new' })],
    ['an absolute name', 0, (entries, outside) => entries.push({ ...plain, path: `${outside}/new` })],
    ['the name of the root itself', 0, entries => entries.push({ ...plain, path: '.', type: 'directory' })],
    ['a name with a NUL', 0, entries => entries.push({ ...plain, path: 'a\0b' })],
    [
      'a symbolic link with a file below it',
      0,
      (entries, outside) =>
        entries.push({ ...plain, path: 'evil', type: 'symlink', link: outside }, { ...plain, path: 'evil/new' }),
    ],
    [
      'a file below what becomes a symbolic link later',
      0,
      (entries, outside) =>
        entries.push({ ...plain, path: 'evil/new' }, { ...plain, path: 'evil', type: 'symlink', link: outside }),
    ],
    [
      'a symbolic link in place of a directory with content',
      0,
      (entries, outside) => Object.assign(named(entries, 'global'), { type: 'symlink', link: outside }),
    ],
    [
      'a hard link to a file outside',
      0,
      entries => entries.push({ ...plain, path: 'mine', type: 'hardlink', link: '../outside/file' }),
    ],
    [
      'a hard link through a symbolic link',
      0,
      (entries, outside) =>
        entries.push(
          { ...plain, path: 'evil', type: 'symlink', link: outside },
          { ...plain, path: 'mine', type: 'hardlink', link: 'evil/file' },
        ),
    ],
    ['one path twice', 0, entries => entries.push({ ...plain, path: 'PG_VERSION' })],
    ['a file below a file', 0, entries => entries.push({ ...plain, path: 'PG_VERSION/new' })],
    [
      'a device',
      0,
      entries => entries.push({ ...plain, path: 'disk', type: 'block-device', device: { major: 8, minor: 0 } }),
    ],
    [
      'capabilities',
      0,
      entries => Object.assign(named(entries, 'PG_VERSION'), { attributes: { 'security.capability': '' } }),
    ],
    ['an owner that means none', 0, entries => Object.assign(named(entries, 'PG_VERSION'), { uid: 0xff_ff_ff_ff })],
    ['a mode of more than permissions', 0, entries => Object.assign(named(entries, 'PG_VERSION'), { mode: 0o100644 })],
    ['a file larger than it was', 0, entries => Object.assign(named(entries, 'PG_VERSION'), { size: 2 ** 40 })],
    ['a file smaller than it was', 0, entries => Object.assign(named(entries, 'PG_VERSION'), { size: 0 })],
    ['a file of a negative size', 0, entries => Object.assign(named(entries, 'PG_VERSION'), { size: -1 })],
    [
      'two files that continue one',
      1,
      entries => Object.assign(named(entries, 'PG_VERSION'), { base: firstBase(entries) }),
    ],
    [
      'a file that continues none of its parent’s',
      1,
      entries => Object.assign(named(entries, 'PG_VERSION'), { base: 1e6 }),
    ],
    ['a file fewer', 1, entries => entries.splice(entries.indexOf(named(entries, 'PG_VERSION')), 1)],
  ]
  it.each(
    cases,
  )('whose list of entries has %s is refused, and nothing is written outside', async (_, index, change) => {
    const at = hostileCluster(await template())
    at.entries(index, entries => change(entries, at.outside))
    await expectRefused(at, index, within)
  })

  const counts: [string, (manifest: Wrong) => void][] = [
    ['entries', manifest => (manifest.tree.entries += 1)],
    ['files', manifest => (manifest.tree.files -= 1)],
    ['blocks', manifest => (manifest.blocks_total += 1)],
    ['bytes of a block', manifest => (manifest.tree.block_size *= 2)],
    ['trees: none', manifest => Reflect.deleteProperty(manifest, 'tree')],
  ]
  it.each(counts)('whose manifest lies about its %s is refused', async (_, change) => {
    const at = hostileCluster(await template())
    at.manifest(0, change)
    await expectRefused(at, 0, command)
  })

  it.each([
    ['is endless once it is unpacked', () => bomb()],
    ['is one line that does not end', () => Buffer.alloc(64 << 20, '"')],
    ['is no text', () => randomBytes(1 << 16)],
    ['is empty', () => Buffer.alloc(0)],
  ])('whose list of entries %s is refused without taking memory', async (_, make) => {
    const at = hostileCluster(await template())
    at.tree(0, make())
    await expectRefused(at, 0, command)
  })

  it('whose manifest names a free place outside for a tablespace is not obeyed, unless the operator names it too', async () => {
    const at = hostileCluster(await template())
    const place = join(at.outside, 'evil.service.d')
    at.manifest(0, manifest => manifest.facts.tablespaces.push({ oid: 16_384, path: place }))
    const target = join(at.directory, 'restored')
    const { code, stderr } = await command(at, ['restore', at.ids[0] ?? '', '--to', target])
    expect({ code, stderr }).toMatchObject({ code: 8 })
    expect(stderr).toContain(`--tablespace-map ${place}=${place}`)
    expect(readdirSync(at.outside)).toEqual(['file'])
    expect(existsSync(target)).toBe(false)
  })

  it.each([
    ['a number that is a path', { oid: '../../outside', path: '/srv/new' }],
    ['a path that is none', { oid: 16_384, path: '../outside' }],
    ['a path with a second line', { oid: 16_384, path: '/srv/new\n1663 /srv' }],
  ])('whose manifest has a tablespace with %s is not restored', async (_, tablespace) => {
    const at = hostileCluster(await template())
    at.manifest(0, manifest => manifest.facts.tablespaces.push(tablespace))
    const target = join(at.directory, 'restored')
    expectDamage(await command(at, ['restore', at.ids[0] ?? '', '--to', target]))
  })
})

/** A gigabyte of empty lines in some kilobytes. */
function bomb(): { packed: Buffer } {
  const piece = execFileSync('zstd', ['-q', '-19', '-c'], { input: Buffer.alloc(64 << 20, '\n') })
  return { packed: Buffer.concat(Array.from({ length: 16 }, () => piece)) }
}

function firstBase(entries: Wrong[]): number {
  return entries.find(({ path, base }) => path !== 'PG_VERSION' && base !== null).base
}
