import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { initRepository } from '../../../src/repository/open.js'
import type { SourceRoom } from '../../../src/repository/types.js'
import type { WalArchive } from '../../../src/repository/wal/types.js'
import { walArchive } from '../../../src/repository/wal/wal-archive.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

const system = '7123456789012345678'
const name = '000000010000000000000042'
const plain = Buffer.concat([Buffer.alloc(300_000, 'wal'), randomBytes(100_000)])
const times = { closedAt: new Date('2025-11-03T02:59:00.123Z'), now: new Date('2025-11-03T03:00:00Z') }

interface Place {
  directory: string
  room: SourceRoom
  archive: WalArchive
  file(name: string): string
}

async function place(): Promise<Place> {
  const directory = join(temporaryDirectory(), 'repository')
  const repository = await initRepository(directory, { now: times.now })
  const room = repository.source('main')
  return {
    directory,
    room,
    archive: room.wal(system),
    file: wal => join(directory, 'main', 'wal', system, wal.slice(0, 8), `${wal}.zst`),
  }
}

describe('the archive of a log', () => {
  it('says where a file lies on this machine, and of a store that is elsewhere nothing, also of what was just put', async () => {
    const { archive, file, room } = await place()
    await archive.put(name, plain, times)
    expect(archive.localPath(name)).toBe(file(name))
    const elsewhere = new Proxy(room.repository.storage, {
      get(storage, key) {
        if (key === 'localPath') return () => undefined
        const value = Reflect.get(storage, key, storage)
        return typeof value === 'function' ? value.bind(storage) : value
      },
    })
    const there = walArchive(elsewhere, 'main', system)
    expect(await there.put(name, plain, times)).toBe('identical')
    expect(there.localPath(name)).toBeUndefined()
  })

  it('keeps a file that comes back byte for byte, with what is known of it', async () => {
    const { archive, room, file } = await place()
    expect(await archive.put(name, plain, times)).toBe('stored')
    const { header, plain: back } = await archive.read(name)
    expect(back.equals(plain)).toBe(true)
    expect(header).toMatchObject({
      format: 1,
      name,
      system_identifier: system,
      bytes: plain.byteLength,
      closed_at: '2025-11-03T02:59:00.123Z',
      archived_at: '2025-11-03T03:00:00.000Z',
    })
    expect(await archive.header(name)).toEqual(header)
    expect(await archive.storedBytes(name)).toBe(statSync(file(name)).size)
    expect(await room.walSystems()).toEqual([system])
  })

  it('keeps files that zstd alone turns back into what they were', async () => {
    const { archive, file } = await place()
    await archive.put(name, plain, times)
    expect(execFileSync('zstd', ['-dqc', file(name)], { maxBuffer: 1 << 24 }).equals(plain)).toBe(true)
  })

  it('keeps everything that a server writes: empty, small, histories, labels, unfinished segments', async () => {
    const { archive } = await place()
    const files = ['00000002.history', `${name}.00000028.backup`, `${name}.partial`, '000000020000000000000042']
    for (const [size, wal] of files.entries()) {
      expect(await archive.put(wal, Buffer.alloc(size * 10, 'x'), times)).toBe('stored')
      expect((await archive.read(wal)).plain.byteLength).toBe(size * 10)
    }
    expect(await archive.timelines()).toEqual([1, 2])
    expect(await archive.names()).toEqual([...files].sort())
    expect(await archive.names(2)).toEqual(['00000002.history', '000000020000000000000042'])
  })

  it('takes the same content again and never another one', async () => {
    const { archive, file } = await place()
    await archive.put(name, plain, times)
    const before = readFileSync(file(name))
    const later = { closedAt: new Date(), now: new Date() }
    expect(await archive.put(name, Buffer.from(plain), later)).toBe('identical')
    const other = Buffer.from(plain)
    other[other.length - 1] = (other.at(-1) ?? 0) ^ 1
    await expect(archive.put(name, other, later)).rejects.toMatchObject({ kind: 'refused', code: 'wal_differs' })
    await expect(archive.put(name, plain.subarray(1), later)).rejects.toMatchObject({ kind: 'refused' })
    expect(readFileSync(file(name)).equals(before)).toBe(true)
    await archive.put('00000002.history', Buffer.from('1\t0/1\tx\n'), times)
    await expect(archive.put('00000002.history', Buffer.from('1\t0/2\tx\n'), later)).rejects.toMatchObject({
      code: 'wal_differs',
    })
  })

  it('ends with one of two that write different contents at the same time', async () => {
    const { archive, room } = await place()
    const other = Buffer.from(plain).fill(1)
    const results = await Promise.allSettled([
      archive.put(name, plain, times),
      room.wal(system).put(name, other, times),
      archive.put(name, plain, times),
    ])
    const { plain: kept } = await archive.read(name)
    const won = results.map(({ status }) => status === 'fulfilled')
    expect(won).toEqual(kept.equals(plain) ? [true, false, true] : [false, true, false])
    expect(readdirSync(join(room.repository.location, 'main', 'wal', system, '00000001'))).toEqual([`${name}.zst`])
  })

  it('says of what is not there that it is not there', async () => {
    const { archive, room } = await place()
    for (const wal of [name, '00000002.history']) {
      const missing = { kind: 'not-found', code: 'wal_not_archived' }
      await expect(archive.read(wal)).rejects.toMatchObject(missing)
      await expect(archive.header(wal)).rejects.toMatchObject(missing)
    }
    expect(await archive.timelines()).toEqual([])
    expect(await archive.names()).toEqual([])
    expect(await room.walSystems()).toEqual([])
  })

  it('never serves a file with a byte changed, wherever it is, nor one cut short', async () => {
    const { archive, file } = await place()
    await archive.put(name, plain, times)
    const sound = readFileSync(file(name))
    const headerEnd = 8 + sound.readUInt32LE(4)
    const places = [0, 4, 9, headerEnd - 2, headerEnd, headerEnd + 5, sound.length >> 1, sound.length - 1]
    for (const place of [...places, ...Array.from(randomBytes(20), byte => (byte * sound.length) >> 8)]) {
      const bytes = Buffer.from(sound)
      bytes[place] = (bytes[place] ?? 0) ^ 0x10
      writeFileSync(file(name), bytes)
      await expect(archive.read(name), `byte ${place}`).rejects.toMatchObject({ kind: 'damage', code: 'wal_damaged' })
    }
    for (const length of [0, 7, 100, headerEnd, sound.length - 1]) {
      writeFileSync(file(name), sound.subarray(0, length))
      await expect(archive.read(name), `cut to ${length}`).rejects.toMatchObject({ kind: 'damage' })
    }
    // What is there cannot be compared, and is not overwritten.
    await expect(archive.put(name, plain, times)).rejects.toMatchObject({ kind: 'damage' })
    writeFileSync(file(name), sound)
    expect((await archive.read(name)).plain.equals(plain)).toBe(true)
  })

  it('never serves the file of another name or another system', async () => {
    const { archive, file, room } = await place()
    await archive.put(name, plain, times)
    const next = '000000010000000000000043'
    writeFileSync(file(next), readFileSync(file(name)))
    await expect(archive.read(next)).rejects.toThrow(`it holds ${name}`)
    const other = room.wal('42')
    await other.put(next, plain, times)
    writeFileSync(file(name), readFileSync(file(next).replace(system, '42')))
    await expect(archive.read(name)).rejects.toMatchObject({ kind: 'damage' })
  })

  it('follows no link', async () => {
    const { archive, file } = await place()
    await archive.put(name, plain, times)
    symlinkSync(file(name), file('000000010000000000000043'))
    await expect(archive.read('000000010000000000000043')).rejects.toMatchObject({ code: 'repository_symlink' })
  })

  it('takes no other names', async () => {
    const { archive, room } = await place()
    for (const wal of ['x', '../../x', '00000001/x', '000000010000000000000042.zst', '000000010000000000000042.done']) {
      await expect(archive.put(wal, plain, times)).rejects.toMatchObject({ kind: 'usage' })
      await expect(archive.read(wal)).rejects.toMatchObject({ kind: 'usage' })
    }
    for (const identifier of ['', '..', '0', '-1', 'abc', '123456789012345678901']) {
      expect(() => room.wal(identifier)).toThrow(expect.objectContaining({ kind: 'usage' }))
    }
  })

  it('removes files, says how many bytes that freed, and does it again', async () => {
    const { archive, file } = await place()
    const names = ['000000010000000000000042', '000000010000000000000043', '000000020000000000000043']
    for (const wal of names) await archive.put(wal, plain, times)
    const bytes = statSync(file(name)).size
    expect(await archive.remove([name, '000000020000000000000043'])).toBe(2 * bytes)
    expect(await archive.remove([name])).toBe(0)
    expect(await archive.names()).toEqual(['000000010000000000000043'])
  })

  it('removes what killed writers left only when it is old', async () => {
    const { archive, file } = await place()
    await archive.put(name, plain, times)
    const left = ['old', 'new'].map(age => join(file(name), '..', `.partial-${name}.zst-${age}`))
    for (const path of left) writeFileSync(path, 'half')
    const [old = '', young = ''] = left
    utimesSync(old, new Date(0), new Date(0))
    await archive.removeLeftovers(name, new Date())
    expect([existsSync(old), existsSync(young), existsSync(file(name))]).toEqual([false, true, true])
    expect(await archive.names()).toEqual([name])
  })
})
