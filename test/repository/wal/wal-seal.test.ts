import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { epochPrivate } from '../../../src/keys/epoch-keys.js'
import { initRepository } from '../../../src/repository/open.js'
import { openingReader } from '../../../src/repository/sealed/opening-reader.js'
import { openWhole, sealWhole } from '../../../src/repository/sealed/whole.js'
import { sha256Of } from '../../../src/repository/wal/pack.js'
import { formatWalHeader, parseWalHeader } from '../../../src/repository/wal/wal-file.js'
import { unsealed, type WalSeal } from '../../../src/repository/wal/wal-seal.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { memoryReader } from '../sealed/memory-part.js'

const system = '7123456789012345678'
const name = '000000010000000000000042'
const next = '000000010000000000000043'
const plain = Buffer.concat([Buffer.alloc(600_000, 'known-plaintext-of-a-row '), randomBytes(400_000)])
const times = { closedAt: new Date('2025-11-03T02:59:00.123Z'), now: new Date('2025-11-03T03:00:00Z') }
const epoch = '20251103T000000.000Z-00112233'
const keys = epochPrivate(randomBytes(32))
const identity = { id: 'ours', key: randomBytes(32) }

const open: WalSeal['open'] = async () => keys
const signer = null
const full: WalSeal = { writing: { epoch, sealingKey: keys.sealing, identity, signer }, open }
/** A host with a mark of its own and no private half. */
const blind: WalSeal = { ...full, open: unsealed.open }
const without = (seal: WalSeal): WalSeal => ({
  ...seal,
  writing: { epoch, sealingKey: keys.sealing, identity: null, signer },
})

async function place() {
  const directory = join(temporaryDirectory(), 'repository')
  const room = (await initRepository(directory, { now: times.now })).source('main')
  const file = (wal: string, suffix = '.zst.enc') =>
    join(directory, 'main', 'wal', system, wal.slice(0, 8), `${wal}${suffix}`)
  return { directory, room, file, wal: (seal?: WalSeal) => room.wal(system, seal) }
}

describe('a sealed log', () => {
  it('is read with the private half only, and shows nothing of its content', async () => {
    const { wal, file } = await place()
    expect(await wal(blind).put(name, plain, times)).toBe('stored')
    expect(wal(blind).localPath(name)).toBe(file(name))
    const stored = readFileSync(file(name))
    expect(stored.includes('known-plaintext')).toBe(false)
    expect(stored.includes(sha256Of(plain))).toBe(false)
    const { header, plain: back } = await wal(full).read(name)
    expect(back.equals(plain)).toBe(true)
    expect(header).toMatchObject({ name, bytes: plain.byteLength, closed_at: '2025-11-03T02:59:00.123Z' })
    expect(header.sha256).toBeUndefined()
    await expect(wal(blind).read(name)).rejects.toMatchObject({ code: 'key_missing' })
    await expect(wal().read(name)).rejects.toMatchObject({ code: 'key_missing' })
    expect(await wal().header(name)).toEqual(header)
    expect(await wal().names()).toEqual([name])
    expect(await wal().storedBytes(name)).toBe(stored.length)
    await wal().check(name)
    expect(await wal().remove([name])).toBe(stored.length)
    expect(await wal().names()).toEqual([])
  })

  it('is read as it was sealed, also when somebody has put a file in plain beside it', async () => {
    const { directory, wal, file } = await place()
    await wal(blind).put(name, plain, times)
    const forged = await place()
    await forged.wal().put(name, Buffer.alloc(1000, 'forged'), times)
    copyFileSync(forged.file(name, '.zst'), file(name, '.zst'))
    mkdirSync(join(directory, 'keys', epoch), { recursive: true })
    const reader: WalSeal = { writing: null, open }
    expect((await wal(reader).read(name)).plain.equals(plain)).toBe(true)
    expect((await wal(full).read(name)).plain.equals(plain)).toBe(true)
    expect((await wal(reader).header(name)).encryption).toBeDefined()
  })

  it('knows the same content again by its mark, or by opening it, and else takes nothing for granted', async () => {
    const { wal } = await place()
    const other = Buffer.from(plain).fill(1, 0, 10)
    await wal(blind).put(name, plain, times)
    for (const seal of [blind, full, without(full)]) {
      expect(await wal(seal).put(name, plain, times)).toBe('identical')
      await expect(wal(seal).put(name, other, times)).rejects.toMatchObject({ kind: 'refused', code: 'wal_differs' })
      await expect(wal(seal).put(name, plain.subarray(1), times)).rejects.toMatchObject({ code: 'wal_differs' })
    }
    // Another host's mark, or none, and no private half.
    const foreign = {
      ...blind,
      writing: { epoch, sealingKey: keys.sealing, identity: { id: 'other', key: randomBytes(32) }, signer },
    }
    for (const seal of [without(blind), foreign]) {
      const again = wal(seal).put(name, plain, times)
      await expect(again).rejects.toMatchObject({ kind: 'refused', code: 'wal_identity_unknown' })
    }
  })

  it('stands beside files from before it was sealed, each stored once', async () => {
    const { wal, file } = await place()
    await wal().put(name, plain, times)
    expect(await wal(blind).put(name, plain, times)).toBe('identical')
    expect(wal(blind).localPath(next)).toBe(file(next))
    expect(existsSync(file(name))).toBe(false)
    await wal(blind).put(next, plain, times)
    expect(await wal().names()).toEqual([name, next])
    expect((await wal().read(name)).plain.equals(plain)).toBe(true)
    expect((await wal(full).read(next)).plain.equals(plain)).toBe(true)
    const archive = wal(blind)
    await archive.put(name, plain, times)
    expect(archive.localPath(name)).toBe(file(name, '.zst'))
  })

  it('leaves histories open: they hold the numbers of timelines', async () => {
    const { wal, file } = await place()
    await wal(blind).put('00000002.history', Buffer.from('1\t0/42000000\tno reason\n'), times)
    expect(existsSync(file('00000002.history', '.zst'))).toBe(true)
    expect((await wal().read('00000002.history')).plain.toString()).toContain('0/42000000')
  })

  it('is damaged by any change, checksums to match or not', async () => {
    const { wal, file } = await place()
    await wal(full).put(name, plain, times)
    const stored = readFileSync(file(name))
    const { header, length } = parseWalHeader(stored, 'test', { name, systemIdentifier: system })
    for (const at of [0, 9, 100, length - 1, length, length + 20, stored.length >> 1, stored.length - 1]) {
      const changed = Buffer.from(stored)
      changed[at] = (changed[at] ?? 0) ^ 1
      writeFileSync(file(name), changed)
      await expect(wal(full).read(name), `byte ${at}`).rejects.toMatchObject({ kind: 'damage' })
      await expect(wal().check(name), `byte ${at}`).rejects.toMatchObject({ kind: 'damage' })
      // And forged: the header tells the digest of what follows it.
      if (at < length) continue
      const rest = changed.subarray(length)
      writeFileSync(file(name), Buffer.concat([formatWalHeader({ ...header, stored_sha256: sha256Of(rest) }), rest]))
      await expect(wal(full).read(name), `forged byte ${at}`).rejects.toMatchObject({ kind: 'damage' })
    }
    const rest = stored.subarray(length)
    for (const change of [
      { bytes: 1 },
      { closed_at: times.now.toISOString() },
      { archived_at: '2030-01-01T00:00:00.000Z' },
    ]) {
      writeFileSync(file(name), Buffer.concat([formatWalHeader({ ...header, ...change }), rest]))
      await expect(wal(full).read(name), JSON.stringify(change)).rejects.toMatchObject({ kind: 'damage' })
    }
  })

  it('is damaged when one segment takes the place of another, or is called what it is not', async () => {
    const { wal, file } = await place()
    await wal(full).put(name, plain, times)
    await wal(full).put(next, Buffer.from(plain).reverse(), times)
    const stored = readFileSync(file(next))
    const { header, length } = parseWalHeader(stored, 'test', { name: next, systemIdentifier: system })
    writeFileSync(file(name), Buffer.concat([formatWalHeader({ ...header, name }), stored.subarray(length)]))
    await expect(wal(full).read(name)).rejects.toMatchObject({ kind: 'damage', code: 'wal_damaged' })
    renameSync(file(next), file(next, '.zst'))
    await expect(wal(full).read(next)).rejects.toMatchObject({ kind: 'damage' })
    expect(readdirSync(join(file(name), '..'))).toHaveLength(2)
  })
})

describe('bytes sealed as a whole', () => {
  it.each([
    0,
    1,
    256 * 1024,
    256 * 1024 + 1,
    1_000_000,
  ])('of %i bytes are what the streams read and write', async length => {
    const sealing = { key: randomBytes(32), context: 'here' }
    const bytes = randomBytes(length)
    const sealed = sealWhole(bytes, sealing)
    expect(openWhole(sealed, sealing)?.equals(bytes)).toBe(true)
    const reader = await openingReader(memoryReader(sealed), sealing, 'part')
    expect((await reader.read(length + 1)).equals(bytes)).toBe(true)
    expect(openWhole(sealed.subarray(0, -1), sealing)).toBeUndefined()
    expect(openWhole(sealed, { ...sealing, context: 'there' })).toBeUndefined()
    expect(openWhole(Buffer.alloc(5), sealing)).toBeUndefined()
  })
})
