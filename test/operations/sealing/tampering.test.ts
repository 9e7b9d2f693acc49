import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it } from 'vitest'
import { NexusError } from '../../../src/errors.js'
import { copySource } from '../../../src/operations/copy/copy-source.js'
import { prune } from '../../../src/operations/prune.js'
import { restore } from '../../../src/operations/restore.js'
import { openBackup } from '../../../src/operations/sealing/open-backup.js'
import { verify } from '../../../src/operations/verify.js'
import { formatChecksums, parseChecksums } from '../../../src/repository/checksums.js'
import { isPrettyJson } from '../../../src/repository/json.js'
import { readHost } from '../../../src/repository/keys/host-file.js'
import type { Manifest } from '../../../src/repository/manifest.js'
import { checkManifest } from '../../../src/repository/manifest-read.js'
import { openRepository } from '../../../src/repository/open.js'
import type { BackupKey } from '../../../src/repository/sealed/backup-key.js'
import { openingReader } from '../../../src/repository/sealed/opening-reader.js'
import { isSignedBy, openManifest } from '../../../src/repository/sealed/sealed-manifest.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { sha256 } from '../../repository/manifests.js'
import { memoryReader } from '../../repository/sealed/memory-part.js'
import { type Application, application } from '../application.js'
import { accessWith, encryptedApplication, keyFile } from './encrypted.js'

/** Two fulls of a small database, the second with one row more. */
async function twoBackups(): Promise<{ app: Application; ids: [string, string] }> {
  const app = await encryptedApplication([keyFile()], { database: { rows: 3, pageSize: 512 } })
  const one = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
  const database = new Database(app.source.path)
  database.exec('CREATE TABLE more (text TEXT)')
  database.close()
  const two = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
  return { app, ids: [one, two] }
}

/** A copy of the repository to be tampered with. */
function copyOf(app: Application): { path: string; of(id: string, name: string): string; look: Look } {
  const path = join(temporaryDirectory(), 'copy')
  cpSync(app.source.repository.path, path, { recursive: true })
  const look: Look = async (context = app.context) => {
    const request = { repositories: [{ name: 'copy', path }], sources: [], targets: [], drill: false }
    const { results } = await verify(context, app.journal, request)
    return new Map(results.map(({ id, status, findings }) => [id, { status, findings }]))
  }
  return { path, look, of: (id, name) => join(path, 'app', id, name) }
}

type Look = (context?: Application['context']) => Promise<Map<string, { status: string; findings: unknown[] }>>

/** Rewrites a file of a backup, with manifest and SHA256SUMS to match: an intruder who knows the format but has no key. */
function forge(directory: string, name: string, bytes: Buffer): void {
  writeFileSync(join(directory, name), bytes)
  const sums = parseChecksums(readFileSync(join(directory, 'SHA256SUMS')), 'test')
  sums.set(name, sha256(bytes))
  if (name !== 'manifest.json') {
    const manifest = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8'))
    const part = manifest.parts.find((candidate: { name: string }) => candidate.name === name)
    Object.assign(part, { bytes: bytes.length, sha256: sha256(bytes) })
    const text = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`)
    writeFileSync(join(directory, 'manifest.json'), text)
    sums.set('manifest.json', sha256(text))
  }
  writeFileSync(join(directory, 'SHA256SUMS'), formatChecksums(sums))
}

/** A manifest as somebody with the key reads it, all but SHA256SUMS compared. */
function believed(bytes: Buffer, id: string, key: BackupKey, signingKey: Buffer): Manifest {
  const stored = checkManifest(bytes, id, 'app')
  const damage = (problem: string) => new NexusError('damage', 'test', problem)
  if (stored.encryption === undefined) throw damage('not encrypted')
  // A flip that JSON does not see (a space, a key's escape) is one that no reader sees; the MAC is over what it says.
  if (!isPrettyJson(bytes, JSON.parse(bytes.toString()))) throw damage('not as it is written')
  const opened = openManifest(stored, stored.encryption, key)
  if (!isSignedBy(stored, stored.encryption, signingKey)) throw damage('not signed')
  return opened
}

/** Restores to a new path. */
async function restored(
  app: Application,
  repository: string,
  backup: string,
  wishes: { untrusted?: boolean } = {},
): Promise<string | null> {
  const path = join(temporaryDirectory(), 'restored.db')
  const target = { kind: 'path' as const, path, force: false }
  const repositories = [{ name: 'copy', path: repository }]
  const request = { repositories, backup, target, source: app.source, at: undefined, dryRun: false }
  return (await restore(app.context, app.journal, { ...request, ...wishes })).id
}

describe('an encrypted backup that somebody tampers with', () => {
  it('is damaged by any flipped byte of any file, with the key and without', async () => {
    const { app, ids } = await twoBackups()
    const copy = copyOf(app)
    const blind = { ...app.context, keys: accessWith() }
    const [, id] = ids
    for (const name of readdirSync(join(copy.path, 'app', id))) {
      const path = copy.of(id, name)
      const bytes = readFileSync(path)
      for (const [turn, at] of [0, 15, 16, bytes.length >> 1, bytes.length - 17, bytes.length - 1].entries()) {
        const changed = Buffer.from(bytes)
        changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
        writeFileSync(path, changed)
        const seen = await copy.look(turn % 2 === 0 ? app.context : blind)
        expect(seen.get(id)?.status, `${name} byte ${at}`).toBe('damaged')
      }
      writeFileSync(path, bytes)
    }
    expect((await copy.look()).get(id)).toEqual({ status: 'ok', findings: [] })
  })

  it('shows every flipped byte also to who does not look at checksums', async () => {
    const { app, ids } = await twoBackups()
    const [, id] = ids
    const repository = await openRepository(app.source.repository.path)
    const room = repository.source('app')
    const stored = (await room.entries()).flatMap(entry => (entry.status === 'ok' ? [entry.manifest] : []))[1]
    if (stored === undefined) throw new Error('no second backup')
    const { key } = await openBackup(app.context, repository, stored)
    if (key === null) throw new Error('it is not encrypted')
    let flips = 0
    for (const { name } of stored.parts) {
      const bytes = readFileSync(join(app.source.repository.path, 'app', id, name))
      for (let at = 0; at < bytes.length; at += 1) {
        bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
        const reading = openingReader(memoryReader(bytes), key.part(name), name).then(reader => reader.read(1 << 20))
        await expect(reading, `${name} byte ${at}`).rejects.toMatchObject({ kind: 'damage' })
        bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
        flips += 1
      }
    }
    expect(flips).toBe(stored.bytes_stored)
    const bytes = readFileSync(join(app.source.repository.path, 'app', id, 'manifest.json'))
    const host = await readHost(repository.storage, stored.encryption?.signer ?? '')
    for (let at = 0; at < bytes.length; at += 1) {
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
      expect(() => believed(bytes, id, key, host?.signing_key ?? Buffer.alloc(0)), `manifest byte ${at}`).toThrow(
        expect.objectContaining({ kind: 'damage' }),
      )
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
    }
    expect(believed(bytes, id, key, host?.signing_key ?? Buffer.alloc(0)).image_digest).not.toBeNull()
  })

  it('is known when whole parts were exchanged with those of another backup, checksums and manifest to match', async () => {
    const { app, ids } = await twoBackups()
    const [one, two] = ids
    for (const name of ['app.db.zst.enc', 'blocks.idx.enc']) {
      const copy = copyOf(app)
      forge(join(copy.path, 'app', two), name, readFileSync(copy.of(one, name)))
      const seen = await copy.look()
      expect(seen.get(two)?.status, name).toBe('damaged')
      expect(seen.get(one)?.status).toBe('ok')
    }
  })

  it('is known when its manifest says something else, though the checksums match', async () => {
    const { app, ids } = await twoBackups()
    const changes: [string, (manifest: Record<string, unknown>) => void][] = [
      ['label', manifest => Object.assign(manifest, { label: 'forged' })],
      ['captured_at', manifest => Object.assign(manifest, { captured_at: '2030-01-01T00:00:00.000Z' })],
      ['sequence', manifest => Object.assign(manifest, { sequence: 77 })],
      ['facts', manifest => Object.assign(manifest, { facts: {} })],
      ['unknown field', manifest => Object.assign(manifest, { more: 1 })],
      ['mac', manifest => Object.assign(manifest.encryption as object, { mac: '0'.repeat(64) })],
      ['signature', manifest => Object.assign(manifest.encryption as object, { signature: 'AAAA' })],
      ['signer', manifest => Object.assign(manifest.encryption as object, { signer: '0'.repeat(16) })],
      ['data key', manifest => Object.assign(manifest.encryption as object, { data_key: 'A'.repeat(108) })],
    ]
    for (const [what, change] of changes) {
      const copy = copyOf(app)
      const [, id] = ids
      const manifest = JSON.parse(readFileSync(copy.of(id, 'manifest.json'), 'utf8'))
      change(manifest)
      const bytes = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`)
      forge(join(copy.path, 'app', id), 'manifest.json', bytes)
      expect((await copy.look()).get(id)?.status, what).toBe('damaged')
    }
  })

  it('is known when a whole manifest is put in the place of another one', async () => {
    const { app, ids } = await twoBackups()
    const [one, two] = ids
    const copy = copyOf(app)
    const manifest = JSON.parse(readFileSync(copy.of(one, 'manifest.json'), 'utf8'))
    const present = JSON.parse(readFileSync(copy.of(two, 'manifest.json'), 'utf8'))
    const bytes = Buffer.from(`${JSON.stringify({ ...manifest, id: two, parts: present.parts }, null, 2)}\n`)
    forge(join(copy.path, 'app', two), 'manifest.json', bytes)
    expect((await copy.look()).get(two)?.status).toBe('damaged')
  })

  it('is not restored when nobody whom the repository knows has signed it', async () => {
    const { app, ids } = await twoBackups()
    const [, id] = ids
    const copy = copyOf(app)
    const manifest = JSON.parse(readFileSync(copy.of(id, 'manifest.json'), 'utf8'))
    manifest.encryption.signature = Buffer.alloc(64, 7).toString('base64')
    forge(join(copy.path, 'app', id), 'manifest.json', Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`))
    for (const backup of [id, 'app']) {
      await expect(restored(app, copy.path, backup)).rejects.toMatchObject({ kind: 'damage', code: 'manifest_forged' })
    }
  })

  it('is not the latest when somebody without a key puts one in plain on top', async () => {
    const { app, ids } = await twoBackups()
    const copy = copyOf(app)
    const intruder = await application({ database: { rows: 9 } })
    const forged = (await intruder.create({ type: 'full' })).backups[0]?.id ?? ''
    cpSync(join(intruder.source.repository.path, 'app', forged), join(copy.path, 'app', forged), { recursive: true })
    const manifest = JSON.parse(readFileSync(copy.of(forged, 'manifest.json'), 'utf8'))
    manifest.sequence = 99
    forge(join(copy.path, 'app', forged), 'manifest.json', Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`))
    // The latest is one of ours, and it is said what was passed over.
    expect(await restored(app, copy.path, 'app')).toBe(ids[1])
    expect(app.warnings.join()).toContain(`passed over: ${forged} is not encrypted`)
    await expect(restored(app, copy.path, forged)).rejects.toMatchObject({ kind: 'refused', code: 'backup_untrusted' })
    expect(await restored(app, copy.path, forged, { untrusted: true })).toBe(forged)
    expect(app.warnings.join()).toContain('because --untrusted says so')
    const seen = await copy.look()
    expect(seen.get(forged)).toEqual({
      status: 'untrusted',
      findings: [{ part: 'manifest.json', problem: expect.stringContaining('is not encrypted') }],
    })
    // Nor does it go on to a copy.
    const to = { name: 'second', path: join(temporaryDirectory(), 'second') }
    const task = { source: 'app', from: { name: 'copy', path: copy.path }, to }
    const report = await copySource(app.context, app.journal, task, true)
    expect(report.backups).toEqual(ids)
    expect(report.problems).toMatchObject([{ id: forged, status: 'untrusted' }])
  })

  it('is missed when it is gone, or an older state was put back, by the host that remembers it', async () => {
    const { app, ids } = await twoBackups()
    const [one, two] = ids
    const { path } = app.source.repository
    const request = { repositories: [app.source.repository], sources: [], targets: [], drill: false }
    const look = async () => {
      const { results } = await verify(app.context, app.journal, request)
      return Object.fromEntries(results.map(({ id, status }) => [id, status]))
    }
    const earlier = join(temporaryDirectory(), 'earlier')
    cpSync(path, earlier, { recursive: true })
    const third = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
    expect(await look()).toEqual({ [one]: 'ok', [two]: 'ok', [third]: 'ok' })
    // The whole repository as it was before the third.
    rmSync(path, { recursive: true })
    cpSync(earlier, path, { recursive: true })
    expect(await look()).toMatchObject({ [one]: 'ok', [third]: 'damaged' })
    expect(await look()).toMatchObject({ [third]: 'damaged' })
    // One that is not the newest is told once.
    rmSync(join(path, 'app', one), { recursive: true })
    expect(await look()).toMatchObject({ [one]: 'damaged', [two]: 'ok', [third]: 'damaged' })
    expect(await look()).toEqual({ [two]: 'ok', [third]: 'damaged' })
    rmSync(join(path, 'app'), { recursive: true })
    expect(await look()).toEqual({ [two]: 'damaged', [third]: 'damaged' })
  })

  it('that this host has pruned is not missed', async () => {
    const { app } = await twoBackups()
    const { repository, name } = app.source
    const sources = [{ name, repository, keep: { last: 1 } }]
    await prune(app.context, app.journal, { sources, dryRun: false })
    const request = { repositories: [repository], sources: [], targets: [], drill: false }
    const { results } = await verify(app.context, app.journal, request)
    expect(results.map(({ status }) => status)).toEqual(['ok'])
    expect(app.warnings).toEqual([])
  })
})
