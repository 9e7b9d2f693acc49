import { randomUUID } from 'node:crypto'
import { cpSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { epochPrivate, newEpochSecret } from '../../../src/keys/epoch-keys.js'
import { copy } from '../../../src/operations/copy.js'
import { create } from '../../../src/operations/create.js'
import { addKeys } from '../../../src/operations/keys/add-keys.js'
import { listKeys } from '../../../src/operations/keys/list-keys.js'
import { trustHost } from '../../../src/operations/keys/trust-host.js'
import { points } from '../../../src/operations/points.js'
import { prune } from '../../../src/operations/prune.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { writeAttestation } from '../../../src/repository/keyring/attestation.js'
import { fingerprintOf, formatEpoch, parseEpoch } from '../../../src/repository/keys/epoch.js'
import { formatVouch, readHost } from '../../../src/repository/keys/host-file.js'
import { epochFile, vouchFile } from '../../../src/repository/keys/key-layout.js'
import { newBackupKey, sealBackupKey } from '../../../src/repository/sealed/backup-key.js'
import { sealManifest } from '../../../src/repository/sealed/sealed-manifest.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { type Application, application } from '../application.js'
import { accessWith, encryptedApplication, keyFile, requestFor } from '../sealing/encrypted.js'
import { forge, intruderOf, listed, mark, opened, overwrite, restored, verified } from './bench.js'

/** A full and an increment, encrypted. */
async function owner(): Promise<{ app: Application; full: string; incr: string; key: ReturnType<typeof keyFile> }> {
  const key = keyFile()
  const app = await encryptedApplication([key], { database: { rows: 3, pageSize: 512 } })
  const full = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
  mark(app.source.path, 'genuine')
  const incr = (await app.create({ type: 'incr' })).backups[0]?.id ?? ''
  return { app, full, incr, key }
}

async function pruned(app: Application, keep: { last: number }) {
  const { name, repository } = app.source
  const result = await prune(app.context, app.journal, { sources: [{ name, repository, keep }], dryRun: false })
  return { gone: result.delete.map(({ id }) => id), result }
}

function copyTo(app: Application, path: string, context = app.context) {
  const task = { source: 'app', from: app.source.repository, to: { name: 'copy', path } }
  return copy(context, app.journal, { tasks: [task], init: !existsSync(path), dryRun: false })
}

describe('somebody who can add files, with this very program and no key', () => {
  it('makes nothing that is latest, proven, a parent, counted by retention, copied, or restored unasked', async () => {
    const { app, full, incr } = await owner()
    const intruder = intruderOf(app)
    const forged = [await forge(app, intruder), await forge(app, intruder), await forge(app, intruder)]
    const apart = forged.map(id => [id, 'stranger'])

    expect(await listed(app)).toEqual({ ours: [full, incr], proven: [full, incr], untrusted: apart, problems: [] })
    expect(await verified(app)).toEqual({
      [full]: 'ok',
      [incr]: 'ok',
      ...Object.fromEntries(forged.map(id => [id, 'untrusted'])),
    })
    const proofs = readdirSync(join(app.source.repository.path, 'app', 'proofs'))
    expect(proofs.filter(name => forged.some(id => name.startsWith(id)))).toEqual([])

    expect(await restored(app, 'app')).toEqual({ id: incr, marks: ['genuine'] })
    expect(app.warnings.join()).toContain('3 backups that are not ours are passed over')
    expect(await restored(app, 'app', { at: new Date('2099-01-01') })).toMatchObject({ id: incr })
    const [one = ''] = forged
    await expect(restored(app, one)).rejects.toMatchObject({
      kind: 'refused',
      code: 'backup_untrusted',
      hint: expect.stringContaining(`nexus-backup restore ${one} --untrusted`),
    })
    await expect(restored(app, one.slice(0, -1))).rejects.toMatchObject({ code: 'backup_untrusted' })
    await expect(restored(app, 'app', { untrusted: true })).rejects.toMatchObject({ code: 'untrusted_without_id' })
    expect(await restored(app, one, { untrusted: true })).toMatchObject({ id: one, marks: ['forged', 'genuine'] })
    const found = await points(app.context, [app.source.repository], 'app')
    expect(found.points.map(({ id }) => id)).toEqual([full, incr])

    const to = join(temporaryDirectory(), 'copy')
    const copied = await copyTo(app, to)
    expect(copied.copies).toMatchObject([{ backups: [full, incr] }])
    expect(copied.copies[0]?.problems.map(({ id, status }) => [id, status])).toEqual(
      forged.map(id => [id, 'untrusted']),
    )

    // The next one is an increment on what is ours, right behind it.
    const { backups } = await app.create({ type: 'incr' })
    expect(backups).toMatchObject([{ type: 'incr', parent: incr }])
    const { gone, result } = await pruned(app, { last: 1 })
    expect(gone).toEqual([])
    expect(result.untrusted.map(({ id }) => id)).toEqual(forged)
    expect(result.keep.map(({ id }) => id)).toEqual([full, incr, backups[0]?.id])
    expect((await listed(app)).untrusted).toEqual(apart)
  })

  it('does not make its epoch count, whatever repository that claims to be of, nor what it attests', async () => {
    const { app, full, incr } = await owner()
    const intruder = intruderOf(app)
    const forged = await forge(app, intruder)
    const repository = await opened(app)
    const signer = await hostSigner(intruder)
    const host = await readHost(repository.storage, signer.id)
    if (host === undefined) throw new Error('the intruder is not registered')
    for (const of of [repository.id, randomUUID()]) {
      const keys = epochPrivate(newEpochSecret())
      const { id, bytes } = await formatEpoch(keys, { repository: of, now: new Date() }, null)
      await repository.storage.writeOnce(epochFile(id), bytes)
      await repository.storage.writeOnce(vouchFile(host.id, id), formatVouch(host, id, keys, new Date()))
      const line = parseEpoch(bytes, id)
      const known = { repository: repository.id, source: 'app', line, host: 'db1', now: new Date() }
      await writeAttestation(repository.storage, known, signer)
    }
    // A word of the true epoch that is none keeps nobody out.
    const [epoch = ''] = readdirSync(join(app.source.repository.path, 'keys')).filter(name => /^\d{8}T/.test(name))
    writeFileSync(join(app.source.repository.path, 'keys', epoch, 'next.json'), 'garbage')
    writeFileSync(join(app.source.repository.path, 'keys', 'hosts', host.id, `${epoch}.json`), 'garbage')
    for (const context of [app.context, { ...app.context, stateDirectory: join(temporaryDirectory(), 'bare') }]) {
      expect(await listed(app, context)).toMatchObject({ ours: [full, incr], untrusted: [[forged, 'stranger']] })
      expect(await restored(app, 'app', { context })).toMatchObject({ id: incr })
    }
  })

  it('puts nothing in plain among what is encrypted, however early it says it is, also under a new name', async () => {
    const { app, full, incr } = await owner()
    const plain = await application({ database: { rows: 9 } })
    const id = (await plain.create({ type: 'full' })).backups[0]?.id ?? ''
    const place = (source: string) => join(app.source.repository.path, source, id)
    for (const [source, sequence] of [
      ['app', 1],
      ['other', 1],
      ['third', 9],
    ] as const) {
      cpSync(join(plain.source.repository.path, 'app', id), place(source), { recursive: true })
      overwrite(place(source), manifest => ({ ...manifest, source, sequence, captured_at: '2001-01-01T00:00:00.000Z' }))
    }
    expect(await listed(app)).toMatchObject({
      ours: [full, incr],
      untrusted: [
        [id, 'plain'],
        [id, 'plain'],
        [id, 'plain'],
      ],
    })
    await expect(restored(app, 'other')).rejects.toMatchObject({ kind: 'refused', code: 'backup_untrusted' })
    expect(
      await restored(app, 'app', { at: new Date('2024-01-01') }).catch((error: { code: string }) => error.code),
    ).toBe('backup_untrusted')
    expect((await verified(app))[id]).toBe('untrusted')
    expect((await pruned(app, { last: 1 })).gone).toEqual([])
  })
})

describe('somebody who can change and delete files', () => {
  it('who puts plain in the place of what is encrypted is told by the host that remembers, and by the keys', async () => {
    const { app, full, incr } = await owner()
    const { path } = app.source.repository
    for (const id of [full, incr]) rmSync(join(path, 'app', id), { recursive: true })
    const plain = await application({ database: { rows: 9 } })
    const id = (await plain.create({ type: 'full' })).backups[0]?.id ?? ''
    cpSync(join(plain.source.repository.path, 'app', id), join(path, 'app', id), { recursive: true })
    await expect(restored(app, 'app')).rejects.toMatchObject({ kind: 'damage', message: expect.stringContaining(incr) })
    const bare = { ...app.context, stateDirectory: join(temporaryDirectory(), 'bare') }
    await expect(restored(app, 'app', { context: bare })).rejects.toMatchObject({ code: 'backup_untrusted' })
    // With the keys gone too: the host still knows, and whoever brings a key is told that none was needed.
    rmSync(join(path, 'keys'), { recursive: true })
    await expect(restored(app, 'app')).rejects.toMatchObject({ kind: 'damage' })
    expect(await listed(app)).toMatchObject({ ours: [], untrusted: [[id, 'plain']] })
    app.warnings.length = 0
    await restored(app, 'app', { context: bare })
    expect(app.warnings.join()).toContain('is not encrypted, though a key is given')
  })

  it('who removes the newest does not make an older one the latest on the host that remembers', async () => {
    const { app, full, incr } = await owner()
    rmSync(join(app.source.repository.path, 'app', incr), { recursive: true })
    await expect(restored(app, 'app')).rejects.toMatchObject({
      kind: 'damage',
      message: expect.stringContaining(`${incr} cannot be restored: it is gone`),
      hint: expect.stringContaining(full),
    })
    expect(await restored(app, full)).toMatchObject({ id: full })
  })

  it('who signs a parent anew takes its children along, and prune deletes neither', async () => {
    const { app, full, incr } = await owner()
    const later = (await app.create({ type: 'incr' })).backups[0]?.id ?? ''
    const other = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
    const intruder = intruderOf(app)
    await forge(app, intruder)
    const signer = await hostSigner(intruder)
    const repository = await opened(app)
    const [epoch = ''] = readdirSync(join(app.source.repository.path, 'keys')).filter(name => /^\d{8}T/.test(name))
    const { sealing_key } = parseEpoch(await repository.storage.readSmall(epochFile(epoch), 1 << 16), epoch)
    const key = newBackupKey(incr)
    const dataKey = await sealBackupKey(key, incr, sealing_key)
    overwrite(join(app.source.repository.path, 'app', incr), manifest => {
      const { encryption: _, ...plain } = manifest
      const open = { ...plain, digest_seed: '00'.repeat(8), image_digest: '00'.repeat(32) }
      return sealManifest(open as never, { key, dataKey, epoch, signer }) as unknown as Record<string, unknown>
    })
    // Where nothing is remembered the signature alone tells.
    const bare = { ...app.context, stateDirectory: join(temporaryDirectory(), 'bare') }
    expect(await listed(app, bare)).toMatchObject({ ours: [full, other], problems: [later] })
    await expect(restored(app, later)).rejects.toMatchObject({ kind: 'damage' })
    expect(await restored(app, 'app')).toMatchObject({ id: other })
    const { gone } = await pruned({ ...app, context: bare }, { last: 1 })
    expect(gone).toEqual([])
    const status = await verified(app, bare)
    expect(status).toMatchObject({ [full]: 'ok', [later]: 'damaged', [other]: 'ok' })
  })

  it('who replaces all the keys convinces no host that knows them, and none whose configuration pins them', async () => {
    const { app } = await owner()
    const theirs = await encryptedApplication([keyFile()])
    await theirs.create()
    const { path } = app.source.repository
    const id = (await listKeys(app.context, [app.source.repository])).repositories[0]?.epochs[0]?.fingerprint ?? ''
    const pinned = { ...app.source.repository, trustedEpochs: [id] }
    expect((await app.create({ sources: [{ ...app.source, repository: pinned }] })).failures).toEqual([])
    for (const name of ['keys', 'app']) {
      rmSync(join(path, name), { recursive: true })
      cpSync(join(theirs.source.repository.path, name), join(path, name), { recursive: true })
    }
    const identity = 'nexus-backup.json'
    cpSync(join(theirs.source.repository.path, identity), join(path, identity))
    const bare = { ...app.context, stateDirectory: join(temporaryDirectory(), 'bare') }
    const source = { ...app, source: { ...app.source, repository: pinned } }
    expect(await listed(source, bare)).toMatchObject({ ours: [], untrusted: [[expect.any(String), 'stranger']] })
    const again = await create(bare, app.journal, requestFor({ ...app.source, repository: pinned }))
    expect(again.failures).toMatchObject([{ kind: 'damage', code: 'keys_damaged' }])
  })
})

describe('a host that lost its state', () => {
  it('says that nobody vouches for it, counts for nothing, and is let in again with one command', async () => {
    const { app, full, incr, key } = await owner()
    const lost = { ...app.context, keys: accessWith(), stateDirectory: join(temporaryDirectory(), 'new') }
    const made = await create(lost, app.journal, requestFor(app.source))
    const again = await create(lost, app.journal, requestFor(app.source))
    const [one, two] = [made.backups[0]?.id ?? '', again.backups[0]?.id ?? '']
    const signer = (await hostSigner(lost)).id
    expect([...made.backups, ...again.backups]).toMatchObject([{ unvouched: signer }, { unvouched: signer }])
    expect(await listed(app, lost)).toMatchObject({
      ours: [full, incr],
      untrusted: [
        [one, 'stranger'],
        [two, 'stranger'],
      ],
    })
    const { repository } = app.source
    await trustHost({ ...lost, keys: accessWith(key) }, app.journal, { repository, id: signer, dryRun: false })
    expect(await listed(app, lost)).toMatchObject({ ours: [full, incr, one, two], untrusted: [] })
    const after = await create(lost, app.journal, requestFor(app.source))
    expect(after.backups[0]).not.toHaveProperty('unvouched')
    expect(await verified(app)).toMatchObject({ [one]: 'ok', [two]: 'ok' })
  })
})

describe('a copy', () => {
  it('counts by what attests it, or by what this host knows, and not by what somebody puts beside', async () => {
    const { app, full, incr } = await owner()
    const to = join(temporaryDirectory(), 'copy')
    expect((await copyTo(app, to)).copies).toMatchObject([{ backups: [full, incr], problems: [] }])
    const bare = { ...app.context, stateDirectory: join(temporaryDirectory(), 'bare') }
    expect(await listed(app, bare, to)).toMatchObject({ ours: [full, incr], untrusted: [] })
    // As an earlier version left it: known to the host whose keys they are, pinned, or not at all.
    rmSync(join(to, 'keys', 'copies'), { recursive: true })
    expect(await listed(app, app.context, to)).toMatchObject({ ours: [full, incr] })
    expect(await listed(app, bare, to)).toMatchObject({
      ours: [],
      untrusted: [
        [full, 'stranger'],
        [incr, 'stranger'],
      ],
    })
    const { storage } = await opened(app)
    const [epoch = ''] = readdirSync(join(to, 'keys')).filter(name => /^\d{8}T/.test(name))
    const trustedEpochs = [fingerprintOf(parseEpoch(await storage.readSmall(epochFile(epoch), 1 << 16), epoch))]
    const pinned = { ...app.source.repository, trustedEpochs }
    expect(await listed({ ...app, source: { ...app.source, repository: pinned } }, bare, to)).toMatchObject({
      ours: [full, incr],
    })
    // The next copy makes up for it.
    await copyTo(app, to)
    expect(await listed(app, bare, to)).toMatchObject({ ours: [full, incr], untrusted: [] })
  })

  it('goes on whatever forgery lies where it goes, and says what has the place of one of ours', async () => {
    const { app, full, incr } = await owner()
    const to = join(temporaryDirectory(), 'copy')
    await copyTo(app, to)
    const next = (await app.create({ type: 'incr' })).backups[0]?.id ?? ''
    const squatted = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
    const on = (await app.create({ type: 'incr' })).backups[0]?.id ?? ''
    const plain = await application({ database: { rows: 9 } })
    const forged = (await plain.create({ type: 'full' })).backups[0]?.id ?? ''
    for (const id of [forged, squatted]) {
      cpSync(join(plain.source.repository.path, 'app', forged), join(to, 'app', id), { recursive: true })
      const sequence = Number.MAX_SAFE_INTEGER - 1
      overwrite(join(to, 'app', id), manifest => ({
        ...manifest,
        id,
        sequence,
        captured_at: '2099-01-01T00:00:00.000Z',
      }))
    }
    const { copies, failures } = await copyTo(app, to)
    expect(failures).toEqual([])
    expect(copies).toMatchObject([{ backups: [next] }])
    expect(copies[0]?.problems.map(({ id }) => id).sort()).toEqual([squatted, on].sort())
    const there = await listed(app, app.context, to)
    expect(there.ours).toEqual([full, incr, next])
    expect(await restored(app, 'app', { path: to })).toMatchObject({ id: next })
  })

  it('into a repository with keys of its own counts once those vouch for the host that makes it', async () => {
    const { app, full, incr } = await owner()
    const key = keyFile()
    const there = await encryptedApplication([key])
    await there.create({ sources: [{ ...there.source, name: 'own' }] })
    const to = there.source.repository.path
    const { copies } = await copyTo(app, to)
    expect(copies).toMatchObject([
      { backups: [full, incr], unattested: { hint: expect.stringContaining('keys trust') } },
    ])
    // Once is enough.
    await copyTo(app, to)
    expect(readdirSync(join(to, 'keys', 'copies', 'app'))).toEqual(['1.json'])
    const bare = { ...app.context, stateDirectory: join(temporaryDirectory(), 'bare') }
    const own = async () => (await listed(app, bare, to)).ours.filter(id => id === full || id === incr)
    expect(await own()).toEqual([])
    const id = (await hostSigner(app.context)).id
    await trustHost(there.context, there.journal, { repository: there.source.repository, id, dryRun: false })
    expect(await own()).toEqual([full, incr])
    expect((await copyTo(app, to)).copies[0]).not.toHaveProperty('unattested')
  })
})

describe('a repository that was encrypted later', () => {
  it('keeps what was in plain before among what is ours, and nothing in plain after', async () => {
    const app = await application({ database: { rows: 3, pageSize: 512 } })
    const before = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
    const { repository } = app.source
    const key = keyFile()
    await addKeys(app.context, app.journal, { repository, recipients: [key], label: null })
    const sealed = (await app.create()).backups[0]?.id ?? ''
    expect(await listed(app)).toMatchObject({ ours: [before, sealed], untrusted: [], proven: [before, sealed] })
    const bare = { ...app.context, stateDirectory: join(temporaryDirectory(), 'bare') }
    expect(await listed(app, bare)).toMatchObject({ ours: [before, sealed], untrusted: [] })
    app.warnings.length = 0
    expect(await restored(app, before)).toMatchObject({ id: before })
    expect(app.warnings.join()).toContain('it is from before')
    expect((await pruned(app, { last: 1 })).gone).toEqual([before])
  })
})
