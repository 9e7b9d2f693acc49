import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { Storage } from '../../../src/repository/storage/storage.js'
import { lockRequest } from '../../helpers/lock-request.js'
import { sha256 } from '../manifests.js'

/** An empty place for a repository, which several processes may open. */
export interface Place {
  open(): Promise<Storage>
}

const id = '20251103T030000.123Z-full-7f3a'
const next = '20251103T040000.456Z-incr-91c0'
const names = async (storage: Storage, directory: string) =>
  (await storage.list(directory)).map(({ name, kind }) => (kind === 'directory' ? `${name}/` : name)).sort()

/** Writes a backup of these parts; every part is one write. */
async function commitParts(storage: Storage, directory: string, parts: Record<string, Buffer>): Promise<void> {
  const pending = await storage.begin(directory)
  for (const [name, bytes] of Object.entries(parts)) {
    const writer = await pending.create(name)
    await writer.write(bytes)
    await writer.close()
  }
  await pending.commit()
}

/**
 * What every storage must do, whatever it is made of (design section 5).
 * @param racing whether of many who write one name at the same time one wins
 */
export function conformance(what: string, newPlace: () => Promise<Place>, { racing = true } = {}): void {
  describe(`${what}: small files`, () => {
    test('are written once and read back within a limit', async () => {
      const storage = await (await newPlace()).open()
      await storage.writeOnce('itsm/proofs/a.json', Buffer.from('first'))
      await expect(storage.writeOnce('itsm/proofs/a.json', Buffer.from('second'))).rejects.toMatchObject({
        kind: 'failed',
        code: 'exists',
        message: expect.stringContaining(storage.displayed('itsm/proofs/a.json')),
      })
      await storage.persist('itsm/proofs/a.json')
      expect((await storage.readSmall('itsm/proofs/a.json', 5)).toString()).toBe('first')
      await expect(storage.readSmall('itsm/proofs/a.json', 4)).rejects.toMatchObject({ kind: 'damage' })
      const absent = { kind: 'not-found', message: `${storage.displayed('itsm/b')} does not exist` }
      await expect(storage.readSmall('itsm/b', 4)).rejects.toMatchObject(absent)
      await expect(storage.openRead('itsm/b')).rejects.toMatchObject(absent)
      expect(await names(storage, 'itsm/proofs')).toEqual(['a.json'])
    })

    test('may be empty', async () => {
      const storage = await (await newPlace()).open()
      await storage.writeOnce('itsm/empty', new Uint8Array())
      expect((await storage.readSmall('itsm/empty', 0)).length).toBe(0)
      const reader = await storage.openRead('itsm/empty')
      expect([reader.size, (await reader.read(10)).length]).toEqual([0, 0])
      await reader.close()
    })

    test.runIf(racing)('written once by many at the same time have one winner and whole contents', async () => {
      const place = await newPlace()
      const storages = await Promise.all([place.open(), place.open(), place.open()])
      const results = await Promise.allSettled(
        Array.from({ length: 12 }, (_, n) => storages[n % 3]?.writeOnce('a/b', Buffer.from(`${n}`.padStart(2)))),
      )
      const winners = results.flatMap((result, n) => (result.status === 'fulfilled' ? [`${n}`.padStart(2)] : []))
      expect(winners).toEqual([(await storages[0]?.readSmall('a/b', 2))?.toString()])
      expect(await names(storages[1] as Storage, 'a')).toEqual(['b'])
    })

    test('can be replaced and removed, and removing an absent one is no error', async () => {
      const storage = await (await newPlace()).open()
      await storage.replace('itsm/source.json', Buffer.from('1'))
      await storage.replace('itsm/source.json', Buffer.from('2'))
      expect((await storage.readSmall('itsm/source.json', 1)).toString()).toBe('2')
      await storage.removeFile('itsm/source.json')
      await storage.removeFile('itsm/source.json')
      await storage.removeFile('never/was')
      expect(await names(storage, 'itsm')).toEqual([])
      await storage.writeOnce('itsm/wal/1', Buffer.from('123'))
      await storage.writeOnce('itsm/wal/2', Buffer.from('45'))
      expect(await storage.removeFiles(['itsm/wal/1', 'itsm/wal/absent', 'itsm/wal/2'])).toBe(5)
      expect(await names(storage, 'itsm/wal')).toEqual([])
    })

    test('and directories are listed apart; what is absent is empty', async () => {
      const storage = await (await newPlace()).open()
      for (const name of ['b', 'a/x', 'a/c/y', 'a.d']) await storage.writeOnce(name, Buffer.from('1'))
      expect(await names(storage, '')).toEqual(['a.d', 'a/', 'b'])
      expect(await names(storage, 'a')).toEqual(['c/', 'x'])
      expect(await storage.list('absent/deep')).toEqual([])
    })

    test('have names that never leave the repository', async () => {
      const storage = await (await newPlace()).open()
      for (const name of ['..', '../x', 'a/../../x', '/etc/passwd', 'a//b', './a', 'a\0b']) {
        const refused = { code: 'repository_name_invalid' }
        await expect(storage.readSmall(name, 10)).rejects.toMatchObject(refused)
        await expect(storage.writeOnce(name, Buffer.from('x'))).rejects.toMatchObject(refused)
        await expect(storage.remove(name)).rejects.toMatchObject(refused)
      }
    })
  })

  describe(`${what}: reading`, () => {
    test('gives pieces of the asked length in buffers whose memory can be transferred', async () => {
      const storage = await (await newPlace()).open()
      const bytes = randomBytes(10_000)
      await storage.writeOnce('file', bytes)
      const reader = await storage.openRead('file')
      expect(reader.size).toBe(10_000)
      const pieces = await Promise.all([reader.read(4000), reader.read(4000), reader.read(4000), reader.read(10)])
      expect(pieces.map(piece => piece.length)).toEqual([4000, 4000, 2000, 0])
      expect(Buffer.concat(pieces).equals(bytes)).toBe(true)
      for (const { buffer, byteOffset, length } of pieces) expect([byteOffset, buffer.byteLength]).toEqual([0, length])
      await reader.close()
      await reader.close()
    })

    test('of a large part gives its bytes whatever the pieces, and may end early', async () => {
      const storage = await (await newPlace()).open()
      const bytes = randomBytes(21_000_000)
      await commitParts(storage, `itsm/${id}`, { part: bytes, 'manifest.json': Buffer.from('{}') })
      const reader = await storage.openRead(`itsm/${id}/part`)
      const pieces: Buffer[] = []
      for (let size = 1; ; size = size * 3 + 1) {
        const piece = await reader.read(Math.min(size, 5_000_000))
        if (piece.length === 0) break
        pieces.push(piece)
      }
      await reader.close()
      expect(Buffer.concat(pieces).equals(bytes)).toBe(true)
      const random = await storage.openRead(`itsm/${id}/part`)
      for (const [from, length] of [
        [20_000_000, 500_000],
        [3, 5],
        [20_999_999, 10],
        [21_000_000, 10],
      ] as const) {
        expect((await random.readAt(from, length)).equals(bytes.subarray(from, from + length))).toBe(true)
      }
      // It goes on where it was.
      expect((await random.read(10)).equals(bytes.subarray(0, 10))).toBe(true)
      await random.close()
      const early = await storage.openRead(`itsm/${id}/part`)
      expect((await early.read(100)).equals(bytes.subarray(0, 100))).toBe(true)
      await early.close()
    })
  })

  describe(`${what}: a pending directory`, () => {
    test('appears whole at commit, with sizes and hashes as written in call order', async () => {
      const place = await newPlace()
      const storage = await place.open()
      const pending = await storage.begin(`itsm/${id}`)
      const writer = await pending.create('part')
      const pieces = Array.from({ length: 50 }, () => randomBytes(3000))
      await Promise.all(pieces.map(piece => writer.write(piece)))
      const whole = Buffer.concat(pieces)
      expect(await writer.close()).toEqual({ name: 'part', bytes: whole.length, sha256: sha256(whole) })
      const manifest = await pending.create('manifest.json')
      await manifest.write(Buffer.from('{}'))
      expect(await manifest.close()).toEqual({ name: 'manifest.json', bytes: 2, sha256: sha256(Buffer.from('{}')) })
      expect(await names(await place.open(), 'itsm')).toEqual([`.partial-${id}/`])
      await pending.commit()
      expect(await names(await place.open(), 'itsm')).toEqual([`${id}/`])
      expect(await names(storage, `itsm/${id}`)).toEqual(['manifest.json', 'part'])
      const reader = await storage.openRead(`itsm/${id}/part`)
      expect((await reader.read(reader.size)).equals(whole)).toBe(true)
      await reader.close()
      await pending.discard()
      expect(await names(storage, `itsm/${id}`)).toEqual(['manifest.json', 'part'])
    })

    test('that writes nothing leaves nothing', async () => {
      const storage = await (await newPlace()).open()
      await (await storage.begin(`itsm/${id}`)).discard()
      expect(await names(storage, 'itsm')).toEqual([])
    })

    test('leaves nothing behind when it is discarded, open files included', async () => {
      const storage = await (await newPlace()).open()
      const pending = await storage.begin(`itsm/${id}`)
      const done = await pending.create('done')
      await done.write(randomBytes(1000))
      await done.close()
      const writer = await pending.create('part')
      const writing = writer.write(randomBytes(9_000_000)).catch(() => undefined)
      await pending.discard()
      await writing
      await pending.discard()
      expect(await names(storage, 'itsm')).toEqual([])
      expect(await storage.removeLeftovers('itsm')).toEqual([])
      await expect(pending.commit()).rejects.toMatchObject({ code: 'pending_misused' })
    })

    test('is not committed with a file still open, and never over something that exists', async () => {
      const place = await newPlace()
      const storage = await place.open()
      const pending = await storage.begin(`itsm/${id}`)
      const writer = await pending.create('part')
      await expect(pending.commit()).rejects.toMatchObject({ code: 'pending_misused' })
      await writer.close()
      await expect(writer.write(Buffer.from('late'))).rejects.toMatchObject({ code: 'part_closed' })
      await expect(pending.create('part')).rejects.toMatchObject({ kind: 'failed' })
      await (await pending.create('manifest.json')).close()
      await pending.commit()
      const again = async () => {
        const other = await (await place.open()).begin(`itsm/${id}`)
        await (await other.create('part')).close()
        await (await other.create('manifest.json')).close()
        await other.commit()
      }
      await expect(again()).rejects.toMatchObject({ kind: 'failed', code: 'exists' })
      expect(await names(storage, `itsm/${id}`)).toEqual(['manifest.json', 'part'])
    })

    test('takes no names that are paths or hidden', async () => {
      const storage = await (await newPlace()).open()
      const pending = await storage.begin(`itsm/${id}`)
      for (const name of ['../x', 'a/b', '.scratch', '', '..', 'a\nb']) {
        await expect(pending.create(name)).rejects.toMatchObject({ code: 'part_name_invalid' })
      }
    })

    test('of a killed run is a leftover, and cleaned as one', async () => {
      const place = await newPlace()
      const killed = await (await place.open()).begin(`itsm/${id}`)
      const done = await killed.create('done')
      await done.write(randomBytes(1000))
      await done.close()
      const half = await killed.create('half')
      await half.write(randomBytes(9_000_000))
      const storage = await place.open()
      await commitParts(storage, `itsm/${next}`, { 'manifest.json': Buffer.from('{}') })
      expect(await names(storage, 'itsm')).toEqual([`.partial-${id}/`, `${next}/`])
      expect(await storage.removeLeftovers('itsm')).toEqual([`.partial-${id}`])
      expect(await storage.removeLeftovers('itsm')).toEqual([])
      expect(await storage.removeLeftovers('absent')).toEqual([])
      expect(await names(storage, 'itsm')).toEqual([`${next}/`])
      await half.close().catch(() => undefined)
    })
  })

  test(`${what}: removing frees a backup, says how much, and is repeatable`, async () => {
    const storage = await (await newPlace()).open()
    await commitParts(storage, `itsm/${id}`, { part: randomBytes(1000), 'manifest.json': Buffer.from('{}') })
    await commitParts(storage, `itsm/${next}`, { 'manifest.json': Buffer.from('{}') })
    expect(await storage.remove(`itsm/${id}`)).toBe(1002)
    expect(await storage.remove(`itsm/${id}`)).toBe(0)
    expect(await storage.remove(`gone/${id}`)).toBe(0)
    expect(await names(storage, 'itsm')).toEqual([`${next}/`])
    await expect(storage.openRead(`itsm/${id}/part`)).rejects.toMatchObject({ kind: 'not-found' })
  })

  describe(`${what}: locks`, () => {
    const modes = [
      ['exclusive', 'exclusive', false],
      ['exclusive', 'shared', false],
      ['shared', 'exclusive', false],
      ['shared', 'shared', true],
    ] as const
    test.each(modes)('held %s, wanted %s: granted %s', async (theirs, ours, granted) => {
      const place = await newPlace()
      const [one, other] = [await place.open(), await place.open()]
      await one.writeOnce('itsm/source.json', Buffer.from('{}'))
      const held = await one.lock('itsm', 'delete', theirs, lockRequest({ purpose: 'prune itsm' }))
      expect(held.unlocked).toBe(false)
      const wanted = other.lock('itsm', 'delete', ours, lockRequest())
      if (granted) await (await wanted).release()
      else {
        const message = expect.stringMatching(
          /^itsm is locked by prune itsm \(user root, process \d+ on db1, since .*Z\)/,
        )
        await expect(wanted).rejects.toMatchObject({ kind: 'locked', code: 'locked', message })
      }
      await (await other.lock('itsm', 'writer', 'exclusive', lockRequest())).release()
      await held.release()
      await (await other.lock('itsm', 'delete', ours, lockRequest())).release()
    })

    test('of a source that nobody backed up are refused to readers', async () => {
      const storage = await (await newPlace()).open()
      await expect(storage.lock('itsm', 'delete', 'shared', lockRequest())).rejects.toMatchObject({
        kind: 'not-found',
        code: 'source_not_found',
      })
    })

    test('are waited for, and the waiter says for whom', async () => {
      const place = await newPlace()
      const [one, other] = [await place.open(), await place.open()]
      const held = await one.lock('itsm', 'writer', 'exclusive', lockRequest({ purpose: 'create itsm' }))
      const told: string[] = []
      const waiting = other.lock('itsm', 'writer', 'exclusive', {
        ...lockRequest({ waitSeconds: 30 }),
        onWait: message => {
          told.push(message)
          void held.release()
        },
      })
      await (await waiting).release()
      expect(told).toEqual([expect.stringMatching(/^itsm: waiting for create itsm \(user root, process/)])
    })

    test('have one winner among many', async () => {
      const place = await newPlace()
      const storages = await Promise.all(Array.from({ length: 4 }, () => place.open()))
      let inside = 0
      let most = 0
      await Promise.all(
        storages.map(async storage => {
          const lock = await storage.lock('itsm', 'writer', 'exclusive', lockRequest({ waitSeconds: 60 }))
          inside += 1
          most = Math.max(most, inside)
          await new Promise(resolve => setImmediate(resolve))
          inside -= 1
          await lock.release()
        }),
      )
      expect(most).toBe(1)
    })

    test('end their waiting with the signal', async () => {
      const place = await newPlace()
      const held = await (await place.open()).lock('itsm', 'writer', 'exclusive', lockRequest())
      const stop = new AbortController()
      const waiting = (await place.open()).lock('itsm', 'writer', 'exclusive', {
        ...lockRequest({ waitSeconds: 600 }),
        signal: stop.signal,
        onWait: () => stop.abort(),
      })
      await expect(waiting).rejects.toMatchObject({ kind: 'interrupted' })
      await held.release()
    })
  })
}
