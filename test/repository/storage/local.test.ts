import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { LocalStorage } from '../../../src/repository/storage/local.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { sha256 } from '../manifests.js'
import { conformance } from './conformance.js'

const isRoot = process.getuid?.() === 0

async function newStorage(): Promise<{ storage: LocalStorage; path: string }> {
  const path = temporaryDirectory()
  return { storage: await LocalStorage.open(path), path }
}

conformance('local', async () => {
  const path = temporaryDirectory()
  return { open: () => LocalStorage.open(path) }
})

describe('small files', () => {
  test('are written once and read back within a limit', async () => {
    const { storage, path } = await newStorage()
    await storage.writeOnce('itsm/proofs/a.json', Buffer.from('first'))
    await expect(storage.writeOnce('itsm/proofs/a.json', Buffer.from('second'))).rejects.toMatchObject({
      code: 'exists',
    })
    expect((await storage.readSmall('itsm/proofs/a.json', 5)).toString()).toBe('first')
    await expect(storage.readSmall('itsm/proofs/a.json', 4)).rejects.toMatchObject({ kind: 'damage' })
    await expect(storage.readSmall('itsm/b', 4)).rejects.toMatchObject({
      kind: 'not-found',
      message: `${path}/itsm/b does not exist`,
    })
    expect(readdirSync(join(path, 'itsm/proofs'))).toEqual(['a.json'])
    for (const name of ['itsm', 'itsm/proofs']) expect(statSync(join(path, name)).mode & 0o777).toBe(0o700)
    expect(statSync(join(path, 'itsm/proofs/a.json')).mode & 0o777).toBe(0o600)
  })

  test('written once by many at the same time have one winner and whole contents', async () => {
    const { storage, path } = await newStorage()
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) => storage.writeOnce('a/b', Buffer.from(`${n}`))),
    )
    const winners = results.flatMap((result, n) => (result.status === 'fulfilled' ? [`${n}`] : []))
    expect(winners).toEqual([readFileSync(join(path, 'a/b'), 'utf8')])
    expect(readdirSync(join(path, 'a'))).toEqual(['b'])
  })
})

describe('reading', () => {
  test('reports a file that is cut while it is read, and what is no file', async () => {
    const { storage, path } = await newStorage()
    writeFileSync(join(path, 'file'), randomBytes(1000))
    const reader = await storage.openRead('file')
    truncateSync(join(path, 'file'), 400)
    await expect(reader.read(1000)).rejects.toMatchObject({ kind: 'damage', message: expect.stringContaining('400') })
    await reader.close()
    mkdirSync(join(path, 'directory'))
    execFileSync('mkfifo', [join(path, 'pipe')])
    for (const name of ['directory', 'pipe', 'file/below']) {
      await expect(storage.openRead(name)).rejects.toMatchObject({ kind: 'damage', code: 'repository_damaged' })
      await expect(storage.readSmall(name, 10)).rejects.toMatchObject({ kind: 'damage' })
    }
  })

  test('lists files and directories, names what is neither, and an absent directory is empty', async () => {
    const { storage, path } = await newStorage()
    mkdirSync(join(path, 'a'))
    writeFileSync(join(path, 'b'), '')
    symlinkSync('a', join(path, 'c'))
    expect((await storage.list('')).sort((x, y) => (x.name < y.name ? -1 : 1))).toEqual([
      { name: 'a', kind: 'directory' },
      { name: 'b', kind: 'file' },
      { name: 'c', kind: 'other' },
    ])
    expect(await storage.list('absent/deep')).toEqual([])
  })
})

describe('a pending directory', () => {
  test('appears whole at commit, with sizes and hashes as written in call order', async () => {
    const { storage, path } = await newStorage()
    const pending = await storage.begin('itsm/id')
    const writer = await pending.create('part')
    const pieces = Array.from({ length: 50 }, () => randomBytes(3000))
    const writes = pieces.map(piece => writer.write(piece))
    writeFileSync(join(pending.localPath ?? '', 'scratch'), 'of this run')
    await Promise.all(writes)
    const whole = Buffer.concat(pieces)
    expect(await writer.close()).toEqual({ name: 'part', bytes: whole.length, sha256: sha256(whole) })
    expect(readdirSync(join(path, 'itsm'))).toEqual(['.partial-id'])
    await pending.commit()
    expect(readdirSync(join(path, 'itsm'))).toEqual(['id'])
    expect(readdirSync(join(path, 'itsm/id'))).toEqual(['part'])
    expect(readFileSync(join(path, 'itsm/id/part')).equals(whole)).toBe(true)
    await pending.discard()
    expect(existsSync(join(path, 'itsm/id/part'))).toBe(true)
  })

  test('leaves nothing behind when it is discarded, open files included', async () => {
    const { storage, path } = await newStorage()
    const pending = await storage.begin('itsm/id')
    const writer = await pending.create('part')
    const writing = writer.write(randomBytes(1000))
    await pending.discard()
    await writing
    await pending.discard()
    expect(readdirSync(join(path, 'itsm'))).toEqual([])
    await expect(pending.commit()).rejects.toMatchObject({ code: 'pending_misused' })
  })

  test('notices bytes that did not arrive', async () => {
    const { storage, path } = await newStorage()
    const pending = await storage.begin('itsm/id')
    const writer = await pending.create('part')
    await writer.write(randomBytes(1000))
    truncateSync(join(path, 'itsm/.partial-id/part'), 999)
    await expect(writer.close()).rejects.toMatchObject({ code: 'repository_io_error' })
  })
})

describe('removing', () => {
  test('frees a directory and says how much, also after a removal that was killed half-way', async () => {
    const { storage, path } = await newStorage()
    await storage.writeOnce('itsm/id/a', randomBytes(1000))
    await storage.writeOnce('itsm/id/b', randomBytes(500))
    renameSync(join(path, 'itsm/id'), join(path, 'itsm/.partial-id'))
    rmSync(join(path, 'itsm/.partial-id/b'))
    expect(await storage.remove('itsm/id')).toBe(1000)
    expect(await storage.remove('itsm/id')).toBe(0)
    await storage.writeOnce('itsm/id/a', randomBytes(1000))
    await storage.writeOnce('itsm/.partial-id/c', randomBytes(7))
    expect(await storage.remove('itsm/id')).toBe(1007)
    expect(await storage.remove('gone/id')).toBe(0)
    expect(readdirSync(join(path, 'itsm'))).toEqual([])
  })

  test('of leftovers touches .partial-* and nothing else', async () => {
    const { storage, path } = await newStorage()
    for (const name of ['.partial-x/part', '.partial-y', 'id/part', '.locks/writer', '.other/x', 'partial-z/x']) {
      await storage.writeOnce(`itsm/${name}`, Buffer.from('1'))
    }
    expect(await storage.removeLeftovers('itsm')).toEqual(['.partial-x', '.partial-y'])
    expect(await storage.removeLeftovers('itsm')).toEqual([])
    expect(await storage.removeLeftovers('absent')).toEqual([])
    expect(readdirSync(join(path, 'itsm')).sort()).toEqual(['.locks', '.other', 'id', 'partial-z'])
  })

  test('does not follow links', async () => {
    const { storage, path } = await newStorage()
    const outside = temporaryDirectory()
    writeFileSync(join(outside, 'precious'), 'x')
    mkdirSync(join(path, 'itsm/id'), { recursive: true })
    symlinkSync(outside, join(path, 'itsm/.partial-link'))
    symlinkSync(outside, join(path, 'itsm/id/link'))
    await storage.removeLeftovers('itsm')
    await storage.remove('itsm/id')
    expect(readdirSync(outside)).toEqual(['precious'])
  })
})

describe('a hostile repository', () => {
  test('cannot lead us outside through links', async () => {
    const { storage, path } = await newStorage()
    const outside = temporaryDirectory()
    mkdirSync(join(outside, 'id'))
    writeFileSync(join(outside, 'id/part'), 'secret')
    symlinkSync(outside, join(path, 'source'))
    mkdirSync(join(path, 'itsm'))
    symlinkSync(join(outside, 'id'), join(path, 'itsm/id'))
    symlinkSync(join(outside, 'id/part'), join(path, 'itsm/part'))
    symlinkSync('/nowhere', join(path, 'dangling'))
    const symlink = { kind: 'damage', code: 'repository_symlink' }
    for (const name of ['source/id/part', 'itsm/id/part', 'itsm/part']) {
      await expect(storage.openRead(name)).rejects.toMatchObject(symlink)
      await expect(storage.readSmall(name, 100)).rejects.toMatchObject(symlink)
    }
    for (const name of ['source', 'itsm/id', 'source/id'])
      await expect(storage.list(name)).rejects.toMatchObject(symlink)
    for (const name of ['source/x', 'source/id/x', 'itsm/id/x', 'dangling/x']) {
      await expect(storage.writeOnce(name, Buffer.from('x'))).rejects.toMatchObject(symlink)
      await expect(storage.replace(name, Buffer.from('x'))).rejects.toMatchObject(symlink)
      await expect(storage.begin(name)).rejects.toMatchObject(symlink)
    }
    for (const name of ['source/id', 'itsm/id/part']) {
      await expect(storage.remove(name)).rejects.toMatchObject(symlink)
      await expect(storage.removeFile(name)).rejects.toMatchObject(symlink)
    }
    await expect(storage.removeLeftovers('source')).rejects.toMatchObject(symlink)
    expect(readdirSync(outside)).toEqual(['id'])
    expect(readdirSync(join(outside, 'id'))).toEqual(['part'])
  })
})

test('a repository reached through a link to its root works', async () => {
  const base = temporaryDirectory()
  mkdirSync(join(base, 'real'))
  symlinkSync('real', join(base, 'link'))
  const storage = await LocalStorage.open(join(base, 'link'))
  await storage.writeOnce('a/b', Buffer.from('x'))
  expect((await storage.readSmall('a/b', 1)).toString()).toBe('x')
  expect(storage.location).toBe(join(base, 'link'))
})

test.skipIf(!isRoot)('root gives everything it makes to the owner of the repository (needs root)', async () => {
  const path = temporaryDirectory()
  chownSync(path, 4711, 4712)
  const storage = await LocalStorage.open(path)
  const pending = await storage.begin('itsm/id')
  await (await pending.create('part')).close()
  // But for its scratch, where root writes by name.
  expect(statSync(pending.localPath ?? '')).toMatchObject({ uid: 0, mode: 0o040700 })
  await pending.commit()
  await storage.replace('itsm/source.json', Buffer.from('x'))
  for (const name of ['itsm', 'itsm/id', 'itsm/id/part', 'itsm/source.json']) {
    expect(statSync(join(path, name))).toMatchObject({ uid: 4711, gid: 4712 })
  }
})

test.skipIf(isRoot)('a directory we may not write into is not writable (needs an ordinary user)', async () => {
  const path = temporaryDirectory()
  chmodSync(path, 0o500)
  const storage = await LocalStorage.open(path)
  expect(storage.writable).toBe(false)
  await expect(storage.writeOnce('a', Buffer.from('x'))).rejects.toMatchObject({ code: 'repository_permission' })
  chmodSync(path, 0o700)
})
