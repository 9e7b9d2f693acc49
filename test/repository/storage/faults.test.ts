import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { initRepository, openRepository } from '../../../src/repository/open.js'
import { faultOf, namingFull } from '../../../src/repository/storage/faults.js'
import { LocalStorage } from '../../../src/repository/storage/local.js'
import { lockRequest } from '../../helpers/lock-request.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { makeBackup } from '../chains.js'

const MiB = 1024 * 1024

/** A file system of its own, or undefined where we may not mount one. */
function smallFileSystem(size: string): { path: string; remount(option: string): void } | undefined {
  const path = join(temporaryDirectory(), 'mount')
  mkdirSync(path)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=0700`, 'tmpfs', path], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  onTestFinished(() => void execFileSync('umount', [path]))
  return { path, remount: option => void execFileSync('mount', ['-o', `remount,${option}`, path]) }
}

describe('a full disk', () => {
  test('ends a backup with how much is free and what to do, and loses nothing', async context => {
    const disk = smallFileSystem('2m')
    if (!disk) return context.skip('mounting a tmpfs needs root')
    const room = (await initRepository(disk.path, { now: new Date(0) })).source('itsm')
    const images = [{ path: 'itsm.db', bytes: randomBytes(100_000), blockSize: 4096 }]
    const first = await makeBackup(room, images)
    const writer = await room.begin('20251103T040000.000Z-full-ffff')
    const part = await writer.create('itsm.db.zst')
    const full = {
      kind: 'failed',
      code: 'repository_full',
      message: expect.stringMatching(/writing .*itsm\.db\.zst failed: no space left at .* \(\d+ bytes free\)/),
      hint: expect.stringContaining('nexus-backup prune'),
    }
    await expect(part.write(randomBytes(3 * MiB))).rejects.toMatchObject(full)
    await expect(part.write(randomBytes(10))).rejects.toMatchObject(full)
    await expect(part.close()).rejects.toMatchObject(full)
    await expect(
      room.addProof({
        id: first.manifest.id,
        at: '2025-11-03T05:00:00.000Z',
        status: 'ok',
        level: 'stored',
        findings: [],
      }),
    ).rejects.toMatchObject({ code: 'repository_full' })
    const lock = await room.lock('writer', 'exclusive', lockRequest({ purpose: 'prune itsm' }))
    await writer.discard()
    await lock.release()
    expect((await room.entries()).map(({ id, status }) => ({ id, status }))).toEqual([
      { id: first.manifest.id, status: 'ok' },
    ])
    expect(await room.proofs()).toEqual([])
    const second = await makeBackup(room, images, { sequence: 2 })
    expect((await room.entries()).map(({ id }) => id)).toEqual([first.manifest.id, second.manifest.id])
    expect(await room.repository.storage.freeBytes()).toBeLessThan(2 * MiB)
  })

  test('during init is completed once there is space', async context => {
    const disk = smallFileSystem('16k')
    if (!disk) return context.skip('mounting a tmpfs needs root')
    await expect(initRepository(disk.path, { now: new Date(0) })).rejects.toMatchObject({ code: 'repository_full' })
    disk.remount('size=1m')
    await initRepository(disk.path, { now: new Date(0) })
    execFileSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: disk.path })
    expect(readdirSync(disk.path)).toHaveLength(4)
  })
})

test('a read-only file system can be read and says why it cannot be written', async context => {
  const disk = smallFileSystem('2m')
  if (!disk) return context.skip('mounting a tmpfs needs root')
  const made = await makeBackup((await initRepository(disk.path, { now: new Date(0) })).source('itsm'), [
    { path: 'itsm.db', bytes: randomBytes(5000), blockSize: 512 },
  ])
  disk.remount('ro')
  const repository = await openRepository(disk.path)
  expect(repository.writable).toBe(false)
  const room = repository.source('itsm')
  expect(await room.entries()).toMatchObject([{ id: made.manifest.id, status: 'ok' }])
  const options = lockRequest({ purpose: 'verify' })
  const lock = await room.lock('delete', 'shared', options)
  expect(lock.unlocked).toBe(true)
  await lock.release()
  await expect(room.lock('writer', 'exclusive', options)).rejects.toMatchObject({ code: 'repository_read_only' })
  await expect(room.begin('20251103T040000.000Z-full-ffff')).rejects.toMatchObject({
    kind: 'failed',
    code: 'repository_read_only',
    hint: `see why with: findmnt --target ${disk.path}`,
  })
  await expect(room.remove(made.manifest.id)).rejects.toMatchObject({ code: 'repository_read_only' })
})

test('missing permission is named, with how to see who may', async context => {
  if (process.getuid?.() !== 0) return context.skip('becoming another user needs root')
  const path = temporaryDirectory()
  await initRepository(path, { now: new Date(0) })
  // Only the effective user changes: file access goes by it.
  process.seteuid?.(65534)
  try {
    const denied = { kind: 'failed', code: 'repository_permission', hint: expect.stringContaining(`ls -ld ${path}`) }
    await expect(openRepository(path)).rejects.toMatchObject(denied)
    await expect(initRepository(path, { now: new Date(0) })).rejects.toMatchObject(denied)
  } finally {
    process.seteuid?.(0)
  }
})

describe('every system error', () => {
  const doing = { verb: 'writing', path: '/repo/itsm/x', location: '/repo' }
  test.each([
    ['ENOSPC', 'failed', 'repository_full', 'no space left at /repo (7 bytes free)'],
    ['EDQUOT', 'failed', 'repository_full', 'the disk quota at /repo is used up'],
    ['EROFS', 'failed', 'repository_read_only', 'read-only'],
    ['EACCES', 'failed', 'repository_permission', 'permission denied'],
    ['EPERM', 'failed', 'repository_permission', 'permission denied'],
    ['EIO', 'failed', 'repository_io_error', 'input/output error'],
    ['ENOENT', 'not-found', 'not_in_repository', 'does not exist'],
    ['ELOOP', 'damage', 'repository_symlink', 'symbolic link'],
    ['ENOTDIR', 'damage', 'repository_damaged', 'is not what'],
    ['EMFILE', 'failed', 'repository_error', 'too many open files'],
  ])('%s names the file, the reason and keeps the cause', (errno, kind, code, words) => {
    const cause = Object.assign(new Error('too many open files'), { code: errno })
    const error = faultOf(cause, errno, doing, 7)
    expect(error).toMatchObject({ kind, code })
    expect(error.message).toContain('/repo/itsm/x')
    expect(error.message).toContain(words)
    if (kind === 'failed' && errno !== 'EMFILE') expect(error.hint).toBeTruthy()
  })
})

test('a defect in the program is not dressed up as a disk error', async () => {
  const path = temporaryDirectory()
  const storage = await LocalStorage.open(path)
  await expect(storage.writeOnce('a', undefined as unknown as Uint8Array)).rejects.toBeInstanceOf(TypeError)
  rmSync(join(path, 'a'), { force: true })
  expect(() => readFileSync(join(path, 'a'))).toThrow()
})

test('a full disk under files of a run’s own is told as the repository’s; errors of its source stay as they are', async () => {
  const doing = { verb: 'writing', path: '/srv/backups/app/.partial-x', location: '/srv/backups' }
  const failing = (code: string) =>
    namingFull(doing, () => Promise.reject(Object.assign(new Error(`${code}: write`), { code })))
  await expect(failing('ENOSPC')).rejects.toMatchObject({ code: 'repository_full' })
  await expect(failing('EDQUOT')).rejects.toMatchObject({ message: expect.stringContaining('/srv/backups') })
  await expect(failing('EACCES')).rejects.toMatchObject({ code: 'EACCES' })
})
