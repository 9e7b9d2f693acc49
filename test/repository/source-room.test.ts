import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ReadBackups, readEntries } from '../../src/repository/entries.js'
import { makeBackupId } from '../../src/repository/layout.js'
import { initRepository } from '../../src/repository/open.js'
import type { Storage } from '../../src/repository/storage/storage.js'
import type { Claim, SourceRoom } from '../../src/repository/types.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { type Image, makeBackup } from './chains.js'
import { exampleManifest, sha256 } from './manifests.js'

const now = new Date('2025-11-03T03:00:00Z')

async function newRoom(): Promise<{ room: SourceRoom; path: string }> {
  const path = temporaryDirectory()
  return { room: (await initRepository(path, { now })).source('itsm'), path: join(path, 'itsm') }
}

const image = (): Image[] => [{ path: 'itsm.db', bytes: randomBytes(3000), blockSize: 512 }]

describe('entries', () => {
  test('come by sequence whatever the clock said, damaged and partial ones after them', async () => {
    const { room, path } = await newRoom()
    const ids: string[] = []
    for (const [index, day] of [3, 1, 2].entries()) {
      const manifest = exampleManifest({ at: new Date(Date.UTC(2025, 10, day)), sequence: index + 1 })
      const writer = await room.begin(manifest.id)
      await writer.commit(manifest, [])
      ids.push(manifest.id)
    }
    const robbed = '20251001T000000.000Z-full-0000'
    mkdirSync(join(path, robbed))
    await room.begin('20251002T000000.000Z-incr-0000')
    for (const name of ['.locks', 'proofs', 'index', 'wal', '.partial-source.json-00', 'other'])
      mkdirSync(join(path, name), { recursive: true })
    writeFileSync(join(path, 'source.json'), '{}')
    expect((await room.entries()).map(({ status, id }) => [status, id])).toEqual([
      ...ids.map(id => ['ok', id]),
      ['damaged', robbed],
      ['partial', '20251002T000000.000Z-incr-0000'],
    ])
    expect(await room.repository.source('nobody').entries()).toEqual([])
  })

  test('tell of every missing, truncated or flipped byte of manifest and checksums', async () => {
    const { room, path } = await newRoom()
    const { manifest } = await makeBackup(room, image())
    for (const name of ['manifest.json', 'SHA256SUMS']) {
      const file = join(path, manifest.id, name)
      const good = readFileSync(file)
      for (let at = 0; at < good.length; at++) {
        const flipped = Buffer.from(good)
        flipped[at] = (flipped[at] ?? 0) ^ 0x20
        for (const bad of [flipped, good.subarray(0, at)]) {
          writeFileSync(file, bad)
          expect(await room.entries()).toMatchObject([{ status: 'damaged', id: manifest.id }])
        }
      }
      rmSync(file)
      expect(await room.entries()).toMatchObject([
        { status: 'damaged', problem: expect.stringContaining('does not exist') },
      ])
      writeFileSync(file, good)
    }
    expect(await room.entries()).toMatchObject([{ status: 'ok' }])
  })

  test('call an id that is a link or a file damaged and do not follow it', async () => {
    const { room, path } = await newRoom()
    const { manifest } = await makeBackup(room, image())
    renameSync(join(path, manifest.id), join(path, 'real'))
    symlinkSync('real', join(path, manifest.id))
    writeFileSync(join(path, '20251001T000000.000Z-full-0000'), '')
    const damaged = { status: 'damaged', problem: expect.stringContaining('not a directory') }
    expect(await room.entries()).toMatchObject([damaged, damaged])
    await expect(room.openPart(manifest.id, 'blocks.idx')).rejects.toMatchObject({ code: 'repository_symlink' })
    await expect(room.files(manifest.id)).rejects.toMatchObject({ code: 'repository_symlink' })
  })

  test('refuse to be read through a source that is a link', async () => {
    const { room, path } = await newRoom()
    await makeBackup(room, image())
    renameSync(path, `${path}-real`)
    symlinkSync('itsm-real', path)
    const symlink = { kind: 'damage', code: 'repository_symlink' }
    await expect(room.entries()).rejects.toMatchObject(symlink)
    await expect(room.begin('20251001T000000.000Z-full-0000')).rejects.toMatchObject(symlink)
    await expect(room.enter(claim, { adopt: false, now })).rejects.toMatchObject(symlink)
    expect(await room.repository.sources()).toEqual(['itsm-real'])
  })

  test('belong to their source and id: copies elsewhere are damaged', async () => {
    const { room, path } = await newRoom()
    const { manifest } = await makeBackup(room, image())
    const copy = '20251003T000000.000Z-full-0000'
    cpSync(join(path, manifest.id), join(path, copy), { recursive: true })
    cpSync(join(path, manifest.id), join(path, '../other', manifest.id), { recursive: true })
    expect(await room.entries()).toMatchObject([
      { status: 'ok', id: manifest.id },
      { status: 'damaged', id: copy, problem: expect.stringContaining('calls itself') },
    ])
    expect(await room.repository.source('other').entries()).toMatchObject([
      { status: 'damaged', problem: expect.stringContaining('belongs to source "itsm"') },
    ])
  })

  test('leave out what a prune beside us takes away between listing and reading', async () => {
    const { room } = await newRoom()
    const kept = await makeBackup(room, image())
    const pruned = await makeBackup(room, image(), { sequence: 2 })
    const { storage } = room.repository
    let listed = false
    const racing: Pick<Storage, 'list' | 'readSmall'> = {
      async list(directory) {
        const found = await storage.list(directory)
        if (!listed) await room.remove(pruned.manifest.id)
        listed = true
        return found
      },
      readSmall: (name, limit) => storage.readSmall(name, limit),
    }
    expect((await readEntries(racing as Storage, 'itsm')).map(({ id }) => id)).toEqual([kept.manifest.id])
  })

  test('whose manifest went since they were read are damaged, for a prune that waited for its lock too', async () => {
    for (const thorough of [false, true]) {
      const { room, path } = await newRoom()
      const { manifest } = await makeBackup(room, image())
      expect((await room.entries()).map(({ status }) => status)).toEqual(['ok'])
      rmSync(join(path, manifest.id, 'manifest.json'))
      expect((await room.entries({ thorough })).map(({ status }) => status)).toEqual(['damaged'])
    }
  })

  test('that are large may be read again, where a summary did before, and take no more room for it', async () => {
    const { room } = await newRoom()
    for (const sequence of [1, 2, 3]) {
      const manifest = exampleManifest({ at: new Date(Date.UTC(2025, 10, sequence)), sequence })
      const facts = { note: 'x'.repeat(6 << 20) }
      await (await room.begin(manifest.id)).commit({ ...manifest, facts }, [])
    }
    const known = new ReadBackups()
    for (const isItself of [false, true]) {
      const entries = await readEntries(room.repository.storage, 'itsm', { known, isReadItself: () => isItself })
      expect(entries.map(({ status }) => status)).toEqual(['ok', 'ok', 'ok'])
    }
  })

  test('number a thousand without trouble', async () => {
    const { room } = await newRoom()
    for (let sequence = 1; sequence <= 1000; sequence++) {
      const manifest = exampleManifest({
        id: makeBackupId(new Date(sequence), 'full', '0000'),
        at: new Date(sequence),
        sequence,
      })
      await (await room.begin(manifest.id)).commit(manifest, [])
    }
    const entries = await room.entries()
    expect(entries.map(entry => entry.status === 'ok' && entry.manifest.sequence)).toEqual(
      Array.from({ length: 1000 }, (_, n) => n + 1),
    )
  })
})

describe('a backup', () => {
  test('is there after commit with everything sha256sum needs, and can be read part by part', async () => {
    const { room, path } = await newRoom()
    const { manifest } = await makeBackup(room, image())
    execFileSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: join(path, manifest.id) })
    expect(await room.files(manifest.id)).toEqual(['SHA256SUMS', 'blocks.idx', 'itsm.db.zst', 'manifest.json'])
    const sums = await room.checksums(manifest.id)
    const [part] = manifest.parts
    const reader = await room.openPart(manifest.id, part?.name ?? '')
    expect(sha256(await reader.read(reader.size))).toBe(sums.get(part?.name ?? ''))
    await reader.close()
    await expect(room.openPart(manifest.id, 'none')).rejects.toMatchObject({ kind: 'not-found' })
    await expect(room.openPart(manifest.id, '../x')).rejects.toMatchObject({ code: 'repository_name_invalid' })
    await expect(room.openPart('../itsm', 'x')).rejects.toMatchObject({ code: 'id_invalid' })
    rmSync(join(path, manifest.id, 'SHA256SUMS'))
    await expect(room.checksums(manifest.id)).rejects.toMatchObject({ kind: 'damage', code: 'checksums_missing' })
  })

  test('whose manifest could not be read back is not committed', async () => {
    const { room } = await newRoom()
    const wrong = [
      { source: 'other' },
      { blocks_total: 99 },
      { parts: [{ name: 'blocks.idx', role: 'index' as const, bytes: 1, sha256: sha256('') }] },
      { duration_ms: Number.NaN },
    ]
    for (const change of wrong) {
      const manifest = { ...exampleManifest(), ...change }
      const writer = await room.begin(manifest.id)
      await expect(writer.commit(manifest, [])).rejects.toMatchObject({ kind: 'failed', code: 'manifest_unwritable' })
      await writer.discard()
    }
    expect(await room.entries()).toEqual([])
  })

  test('killed while it was written leaves a leftover that the next run cleans, and robbed ones stay', async () => {
    const { room, path } = await newRoom()
    const { manifest } = await makeBackup(room, image())
    rmSync(join(path, manifest.id, 'manifest.json'))
    const killed = await room.begin('20251002T000000.000Z-incr-0000')
    await (await killed.create('blocks.zst')).close()
    expect((await room.entries()).map(({ status }) => status)).toEqual(['damaged', 'partial'])
    expect(await room.removeLeftovers()).toEqual(['.partial-20251002T000000.000Z-incr-0000'])
    expect((await room.entries()).map(({ status }) => status)).toEqual(['damaged'])
    expect(existsSync(join(path, manifest.id, 'itsm.db.zst'))).toBe(true)
  })

  test('is removed whole, with the bytes it took, and removing again is harmless', async () => {
    const { room, path } = await newRoom()
    const { manifest } = await makeBackup(room, image())
    const bytes = readdirSync(join(path, manifest.id)).reduce(
      (sum, name) => sum + readFileSync(join(path, manifest.id, name)).length,
      0,
    )
    expect(await room.remove(manifest.id)).toBe(bytes)
    expect(await room.remove(manifest.id)).toBe(0)
    expect(await room.entries()).toEqual([])
    await expect(room.remove('.locks')).rejects.toMatchObject({ code: 'id_invalid' })
  })
})

const claim: Claim = { kind: 'sqlite', host: 'db1', path: '/opt/itsm.db', system_identifier: null }
const cluster: Claim = { kind: 'postgres', host: 'db1', path: null, system_identifier: '7123' }

describe('a claim', () => {
  test('is made by the first, honoured for the same and refused to others', async () => {
    const { room } = await newRoom()
    expect(await room.claim()).toBeUndefined()
    expect(await room.enter(claim, { adopt: false, now })).toBe(false)
    expect(await room.claim()).toEqual(claim)
    expect(await room.enter(claim, { adopt: false, now })).toBe(false)
    expect(await room.enter(claim, { adopt: true, now })).toBe(false)
    for (const other of [
      { ...claim, host: 'db2' },
      { ...claim, path: '/other.db' },
      { ...claim, kind: 'files' as const },
    ]) {
      await expect(room.enter(other, { adopt: false, now })).rejects.toMatchObject({
        kind: 'refused',
        code: 'source_claimed',
        message: expect.stringContaining('sqlite "/opt/itsm.db" on host "db1"'),
        hint: expect.stringMatching(/--name NAME.*--adopt/),
      })
    }
    expect(await room.claim()).toEqual(claim)
  })

  test('of a cluster is its system identifier, wherever it runs', async () => {
    const { room } = await newRoom()
    await room.enter(cluster, { adopt: false, now })
    expect(await room.enter({ ...cluster, host: 'db2' }, { adopt: false, now })).toBe(false)
    await expect(room.enter({ ...cluster, system_identifier: '8' }, { adopt: false, now })).rejects.toMatchObject({
      code: 'source_claimed',
    })
  })

  test('is replaced with adopt, asks for a full and keeps the former one', async () => {
    const { room, path } = await newRoom()
    await room.enter(claim, { adopt: false, now })
    const successor = { ...claim, host: 'db2' }
    expect(await room.enter(successor, { adopt: true, now: new Date('2026-01-01T00:00:00Z') })).toBe(true)
    expect(await room.enter({ ...claim, host: 'db3' }, { adopt: true, now })).toBe(true)
    expect(await room.enter({ ...claim, host: 'db3' }, { adopt: false, now })).toBe(false)
    expect(JSON.parse(readFileSync(join(path, 'source.json'), 'utf8')).former).toEqual([
      { claim, claimed_at: '2025-11-03T03:00:00.000Z' },
      { claim: successor, claimed_at: '2026-01-01T00:00:00.000Z' },
    ])
    expect(readdirSync(path)).toEqual(['source.json'])
  })

  test('changed by any byte that matters is damage, which only adopt gets past', async () => {
    const { room, path } = await newRoom()
    await room.enter(claim, { adopt: false, now })
    const file = join(path, 'source.json')
    const good = readFileSync(file, 'utf8')
    for (const bad of [
      good.replace('db1', 'db2'),
      good.replace('"former": []', '"former": [1]'),
      good.replace('{', '{"extra":1,'),
      good.slice(0, 20),
      '',
    ]) {
      writeFileSync(file, bad)
      await expect(room.claim()).rejects.toMatchObject({
        kind: 'damage',
        code: 'claim_damaged',
        hint: expect.stringContaining('--adopt'),
      })
      await expect(room.enter(claim, { adopt: false, now })).rejects.toMatchObject({ code: 'claim_damaged' })
    }
    expect(await room.enter(claim, { adopt: true, now })).toBe(true)
    expect(await room.claim()).toEqual(claim)
  })

  test('missing beside backups is damage: nobody knows whose they are', async () => {
    const { room, path } = await newRoom()
    await room.enter(claim, { adopt: false, now })
    await makeBackup(room, image())
    rmSync(join(path, 'source.json'))
    await expect(room.enter(claim, { adopt: false, now })).rejects.toMatchObject({
      kind: 'damage',
      code: 'claim_missing',
    })
    expect(await room.enter(claim, { adopt: true, now })).toBe(true)
    expect(await room.entries()).toMatchObject([{ status: 'ok' }])
  })
})

describe('proofs', () => {
  const id = '20251103T030000.123Z-full-7f3a'
  const proof = { id, at: '2025-11-03T05:00:00.000Z', status: 'ok', level: 'stored', findings: [] } as const

  test('are kept, oldest first, also several of one instant', async () => {
    const { room, path } = await newRoom()
    const drill = {
      ...proof,
      at: '2025-11-04T00:00:00.000Z',
      level: 'drill' as const,
      drill: { restore_ms: 5, checks: [{ name: 'a', status: 'ok', detail: '' }] },
    }
    const damaged = { ...proof, status: 'damaged' as const, findings: [{ part: 'blocks.idx', problem: 'is missing' }] }
    for (const each of [drill, proof, damaged]) await room.addProof({ ...each, findings: [...each.findings] })
    expect(await room.proofs()).toEqual(expect.arrayContaining([damaged, proof, drill]))
    expect((await room.proofs()).at(-1)).toEqual(drill)
    expect(readdirSync(join(path, 'proofs')).sort()).toEqual([
      `${id}-20251103T050000.000Z-2.json`,
      `${id}-20251103T050000.000Z.json`,
      `${id}-20251104T000000.000Z.json`,
    ])
  })

  test('that are damaged, misnamed or too large are named', async () => {
    const { room, path } = await newRoom()
    await room.addProof({ ...proof, findings: [] })
    writeFileSync(join(path, 'proofs', 'notes.txt'), 'ignored')
    const [name = ''] = readdirSync(join(path, 'proofs'))
    const good = readFileSync(join(path, 'proofs', name), 'utf8')
    for (const bad of ['', '{}', good.replace('ok', 'fine'), good.replace('7f3a', '7f3b'), ' '.repeat(5e6)]) {
      writeFileSync(join(path, 'proofs', name), bad)
      await expect(room.proofs()).rejects.toMatchObject({ kind: 'damage', message: expect.stringContaining(name) })
    }
  })

  test('that are none are not written', async () => {
    const { room } = await newRoom()
    await expect(room.addProof({ ...proof, id: '../x', findings: [] })).rejects.toMatchObject({ code: 'proof_invalid' })
  })
})

test.skipIf(process.getuid?.() === 0)(
  'a backup we may not read ends the list with an error (needs an ordinary user)',
  async () => {
    const { room, path } = await newRoom()
    const { manifest } = await makeBackup(room, image())
    chmodSync(join(path, manifest.id), 0)
    await expect(room.entries()).rejects.toMatchObject({ code: 'repository_permission' })
    chmodSync(join(path, manifest.id), 0o700)
  },
)
