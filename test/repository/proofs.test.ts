import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { NexusError } from '../../src/errors.js'
import { initRepository } from '../../src/repository/open.js'
import { sourceRoom } from '../../src/repository/source-room.js'
import type { Proof, SourceRoom } from '../../src/repository/types.js'
import { temporaryDirectory } from '../helpers/temporary.js'

const id = '20251103T030000.123Z-full-7f3a'
const other = '20251104T030000.123Z-full-7f3b'
const now = new Date('2026-11-30T00:00:00Z')
const keeping = { now, signer: async () => null }

async function newRoom(): Promise<{ room: SourceRoom; files(): string[]; path(name: string): string }> {
  const path = temporaryDirectory()
  const room = (await initRepository(path, { now: new Date(0) })).source('itsm')
  const proofs = join(path, 'itsm', 'proofs')
  return { room, files: () => readdirSync(proofs).sort(), path: name => join(proofs, name) }
}

function proof(day: number, wishes: Partial<Proof> = {}): Proof {
  const at = new Date(Date.UTC(2025, 10, 4) + day * 86_400_000).toISOString()
  return { id, at, status: 'ok', level: 'content', findings: [], ...wishes }
}

/** What counts of one backup, and how many files were read for it. */
async function reading(room: SourceRoom, ids = new Set([id])) {
  const { storage } = room.repository
  const read = vi.spyOn(storage, 'readSmall')
  const found = (await room.readProofs({ ids, now })).get(id)
  const reads = read.mock.calls.length
  read.mockRestore()
  return { found, reads, statuses: found?.files.map(({ file }) => file.proof.status) }
}

describe('proofs of a year of verifies', () => {
  test('are one file a backup, which says what all of them say', async () => {
    const { room, files } = await newRoom()
    const drill = { restore_ms: 7, checks: [{ name: 'a', status: 'ok', detail: '' }] }
    await room.keepProofs([proof(0, { status: 'damaged' })], keeping)
    await room.keepProofs([proof(1, { level: 'drill', drill })], keeping)
    for (let day = 2; day < 30; day += 1) await room.keepProofs([proof(day), proof(day, { id: other })], keeping)
    expect(files()).toHaveLength(2)
    const { reads, found } = await reading(room)
    expect(reads).toBe(1)
    expect(found?.files[0]?.file).toMatchObject({
      proof: proof(29),
      history: [
        { at: proof(0).at, status: 'damaged' },
        { at: proof(1).at, level: 'drill', drill },
      ],
    })
  })

  test('written one beside the other by earlier releases count, and the next run puts one in their place', async () => {
    const { room, files } = await newRoom()
    await room.addProof(proof(0, { status: 'damaged' }))
    for (let day = 1; day < 20; day += 1) await room.addProof(proof(day))
    expect((await reading(room)).reads).toBe(20)
    const before = await room.proofs()
    await room.tidyProofs(new Set([id]), keeping)
    expect(files()).toHaveLength(1)
    const after = await room.proofs()
    expect(after).toEqual([before[0], before.at(-1)])
    // A run remembers what it has read: another one reads it.
    const again = sourceRoom(room.repository, room.repository.storage, room.name)
    expect(await reading(again)).toMatchObject({ reads: 1 })
  })

  test('go with their backups', async () => {
    const { room, files } = await newRoom()
    await room.keepProofs([proof(0), proof(0, { id: other })], keeping)
    await room.tidyProofs(new Set([other]), keeping)
    expect(files().map(name => name.slice(0, other.length))).toEqual([other])
  })

  test('that cannot be removed are not read either', async () => {
    const { room, files } = await newRoom()
    for (let day = 0; day < 10; day += 1) await room.addProof(proof(day, { status: 'damaged' }))
    const remove = vi.spyOn(room.repository.storage, 'removeFiles')
    remove.mockRejectedValue(new NexusError('failed', 'repository_permission', 'denied'))
    for (let day = 10; day < 15; day += 1) await room.keepProofs([proof(day)], keeping)
    expect(files()).toHaveLength(15)
    expect(await reading(room)).toMatchObject({ reads: 1, statuses: ['ok'] })
    remove.mockRestore()
    await room.keepProofs([proof(15)], keeping)
    expect(files()).toHaveLength(1)
  })
})

describe('a proof', () => {
  test('that another run writes at the same time is not hidden, even with a clock that is behind', async () => {
    for (const day of [9, 11]) {
      const { room, files } = await newRoom()
      await room.keepProofs([proof(8)], keeping)
      const { storage } = room.repository
      const write = storage.writeOnce.bind(storage)
      const beside = vi.spyOn(storage, 'writeOnce').mockImplementationOnce(async (name, bytes) => {
        await room.keepProofs([proof(day, { status: 'damaged' })], keeping)
        await write(name, bytes)
      })
      await room.keepProofs([proof(10)], keeping)
      beside.mockRestore()
      expect(files()).toHaveLength(2)
      expect((await reading(room)).statuses?.sort()).toEqual(['damaged', 'ok'])
      await room.keepProofs([proof(12, { status: 'unread' })], keeping)
      expect(files()).toHaveLength(1)
      expect((await room.proofs()).map(({ status }) => status).sort()).toEqual(['damaged', 'ok', 'unread'])
    }
  })

  test('of a run whose clock is behind takes its place after what it stands for', async () => {
    const { room, files } = await newRoom()
    await room.keepProofs([proof(10, { status: 'damaged' })], keeping)
    await room.keepProofs([proof(9)], keeping)
    expect(files()).toEqual([`${id}-20251114T000000.000Z-2.json`])
    expect((await room.proofs()).map(({ at, status }) => [at, status])).toEqual([
      [proof(9).at, 'ok'],
      [proof(10).at, 'damaged'],
    ])
  })

  test('of a time to come hides nothing, and what it knew of before still counts', async () => {
    const { room, files } = await newRoom()
    await room.keepProofs([proof(0, { status: 'damaged' })], keeping)
    await room.keepProofs([proof(9999)], { ...keeping, now: new Date(proof(9999).at) })
    const { found } = await reading(room)
    expect(found?.toCome).toBe(1)
    expect(found?.files[0]?.file.history).toMatchObject([{ status: 'damaged' }])
    await room.keepProofs([proof(1)], keeping)
    expect(files()).toEqual([`${id}-20251105T000000.000Z.json`])
    expect((await reading(room)).found?.toCome).toBe(0)
  })

  test('that is replaced while it is read is read anew', async () => {
    const { room } = await newRoom()
    await room.keepProofs([proof(0)], keeping)
    const { storage } = room.repository
    const read = storage.readSmall.bind(storage)
    const slow = vi.spyOn(storage, 'readSmall').mockImplementationOnce(async (name, limit) => {
      await room.keepProofs([proof(1, { status: 'damaged' })], keeping)
      return read(name, limit)
    })
    const found = (await room.readProofs({ now })).get(id)
    slow.mockRestore()
    expect(found?.files.map(({ file }) => file.proof.status)).toEqual(['damaged'])
  })

  test('with any byte flipped is unreadable, and the next one takes its place; one that cannot be read stays', async () => {
    const { room, files, path } = await newRoom()
    await room.keepProofs([proof(0)], keeping)
    const [name = ''] = files()
    const good = readFileSync(path(name))
    for (let at = 0; at < good.length; at += 7) {
      const bad = Buffer.from(good)
      bad[at] = (bad[at] ?? 0) ^ 0x10
      writeFileSync(path(name), bad)
      expect((await reading(room)).found).toMatchObject({ files: [], unreadable: [{ name: { name } }] })
    }
    await room.keepProofs([proof(1)], keeping)
    expect(files()).toHaveLength(1)
    const denied = new NexusError('failed', 'repository_permission', 'denied')
    const read = vi.spyOn(room.repository.storage, 'readSmall').mockRejectedValue(denied)
    await room.keepProofs([proof(2)], keeping)
    read.mockRestore()
    expect(files()).toHaveLength(2)
    rmSync(path(files()[0] ?? ''))
    expect((await reading(room)).statuses).toEqual(['ok'])
  })
})
