import { spawn } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { initRepository } from '../../src/repository/open.js'
import type { SourceRoom } from '../../src/repository/types.js'
import { lockRequest as options } from '../helpers/lock-request.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { end, holdElsewhere } from './lock-holder.js'

/** A room whose lock file is there, so that another process can open it first. */
async function newRoom(): Promise<{ room: SourceRoom; locks: string; file: string }> {
  const path = temporaryDirectory()
  const room = (await initRepository(path, { now: new Date(0) })).source('itsm')
  await (await room.lock('writer', 'exclusive', options())).release()
  const locks = join(path, 'itsm/.locks')
  return { room, locks, file: join(locks, 'writer') }
}

const locked = { kind: 'locked', code: 'locked', hint: expect.stringContaining('--wait') }

describe('locks against another process', () => {
  test.each([
    ['exclusive', 'exclusive', false],
    ['exclusive', 'shared', false],
    ['shared', 'exclusive', false],
    ['shared', 'shared', true],
  ] as const)('held %s there, %s here: granted %s', async (theirs, ours, granted) => {
    const { room, file } = await newRoom()
    const holder = await holdElsewhere(file, theirs)
    const attempt = room.lock('writer', ours, options())
    if (granted) await (await attempt).release()
    else await expect(attempt).rejects.toMatchObject({ ...locked, message: 'itsm is locked by another run' })
    await end(holder, 'release')
    await (await room.lock('writer', ours, options())).release()
  })

  test('held here are refused there', async () => {
    const { room, file, locks } = await newRoom()
    const exclusive = await room.lock('writer', 'exclusive', options())
    // What lies there while it is held is what a SIGKILL leaves: a journal would stop everybody after it.
    expect(readdirSync(locks).map(name => name.replace(/\d+-[0-9a-f]{8}/, 'PID'))).toEqual([
      'writer',
      'writer.PID.json',
    ])
    expect(statSync(file).size).toBe(0)
    await expect(holdElsewhere(file, 'shared')).rejects.toThrow('SQLITE_BUSY')
    await exclusive.release()
    const lock = await room.lock('writer', 'shared', options())
    await expect(holdElsewhere(file, 'exclusive')).rejects.toThrow('SQLITE_BUSY')
    await lock.release()
    await holdElsewhere(file, 'exclusive')
  })

  // A POSIX lock, as SQLite takes it, would be gone after the first close().
  test.each(['exclusive', 'shared'] as const)('held %s here outlast whoever reads the files here', async mode => {
    const { room, file, locks } = await newRoom()
    const lock = await room.lock('writer', mode, options())
    const everything = readdirSync(join(locks, '../..'), { recursive: true, withFileTypes: true })
    for (const entry of everything) {
      if (!entry.isFile()) continue
      const path = join(entry.parentPath, entry.name)
      readFileSync(path)
      closeSync(openSync(path, 'r+'))
    }
    expect(everything.map(({ name }) => name)).toContain('writer')
    await expect(holdElsewhere(file, 'exclusive')).rejects.toThrow('SQLITE_BUSY')
    await expect(room.lock('writer', 'exclusive', options())).rejects.toMatchObject(locked)
    await lock.release()
    await holdElsewhere(file, 'exclusive')
  })

  test('a killed holder frees the lock at once and leaves nothing that stands in the way', async () => {
    const { room, file, locks } = await newRoom()
    for (const mode of ['exclusive', 'shared'] as const) {
      await end(await holdElsewhere(file, mode), 'SIGKILL')
      const lock = await room.lock('writer', 'exclusive', options())
      expect(readdirSync(locks).filter(name => name.includes('journal'))).toEqual([])
      await lock.release()
    }
    expect(readdirSync(locks)).toEqual(['writer'])
    expect(statSync(file).size).toBe(0)
  })

  test('waiting ends when the holder ends, and says for whom once', async () => {
    const { room, file } = await newRoom()
    const holder = await holdElsewhere(file, 'exclusive')
    const messages: string[] = []
    const lock = await room.lock('writer', 'exclusive', {
      ...options({ waitSeconds: 60 }),
      onWait(message) {
        messages.push(message)
        holder.send('release')
      },
    })
    expect(messages).toEqual(['itsm: waiting for another run'])
    await lock.release()
  })

  test('waiting has an end, and the message says how long it was', async () => {
    const { room, file } = await newRoom()
    await holdElsewhere(file, 'exclusive')
    await expect(room.lock('writer', 'shared', options({ waitSeconds: 0.2 }))).rejects.toMatchObject({
      ...locked,
      message: 'itsm is locked by another run after waiting 0.2 seconds',
    })
  })

  test('waiting is ended by the signal', async () => {
    const { room, file } = await newRoom()
    await holdElsewhere(file, 'exclusive')
    const abort = new AbortController()
    const waiting = room.lock(
      'writer',
      'exclusive',
      options({ waitSeconds: 600, signal: abort.signal, onWait: () => abort.abort() }),
    )
    await expect(waiting).rejects.toMatchObject({ kind: 'interrupted' })
  })
})

describe('locks within one process', () => {
  test('exclude each other as between processes, and the two names do not touch', async () => {
    const { room } = await newRoom()
    const writer = await room.lock('writer', 'exclusive', options())
    await expect(room.lock('writer', 'exclusive', options())).rejects.toMatchObject(locked)
    const first = await room.lock('delete', 'shared', options())
    const second = await room.lock('delete', 'shared', options())
    await first.release()
    await expect(room.lock('delete', 'exclusive', options())).rejects.toMatchObject(locked)
    await second.release()
    await (await room.lock('delete', 'exclusive', options())).release()
    await writer.release()
    await (await room.lock('writer', 'exclusive', options())).release()
  })

  test('name the holder: what it does, who, which process, where and since when', async () => {
    const { room } = await newRoom()
    const lock = await room.lock('writer', 'exclusive', options({ user: 'karin' }))
    await expect(room.lock('writer', 'exclusive', options({ purpose: 'prune itsm' }))).rejects.toMatchObject({
      message: expect.stringMatching(
        new RegExp(
          `^itsm is locked by create itsm \\(user karin, process ${process.pid} on db1, since \\d{4}-\\d\\d-\\d\\dT[\\d:]{8}Z\\)$`,
        ),
      ),
    })
    await lock.release()
  })

  test('many at once take turns, one at a time', async () => {
    const { room } = await newRoom()
    let inside = 0
    let most = 0
    await Promise.all(
      Array.from({ length: 5 }, async () => {
        const lock = await room.lock('writer', 'exclusive', options({ waitSeconds: 60 }))
        inside++
        most = Math.max(most, inside)
        await sleep(1)
        inside--
        await lock.release()
      }),
    )
    expect(most).toBe(1)
  })
})

describe('notes of holders', () => {
  test('of dead processes, foreign hosts and hostile hands never decide anything', async () => {
    const { room, locks, file } = await newRoom()
    const dead = spawn(process.execPath, ['-e', ''])
    await new Promise(resolve => dead.on('exit', resolve))
    const note = { host: 'db1', pid: dead.pid, user: 'root', purpose: 'create old', mode: 'exclusive' }
    const write = (name: string, text: string) => writeFileSync(join(locks, `writer.${name}.json`), text)
    write('dead', JSON.stringify(note))
    write('broken', '{')
    write('large', ' '.repeat(1e6))
    symlinkSync('/etc/passwd', join(locks, 'writer.link.json'))
    mkdirSync(join(locks, 'writer.directory.json.new'))
    await holdElsewhere(file, 'shared')
    await expect(room.lock('writer', 'exclusive', options())).rejects.toMatchObject({
      message: 'itsm is locked by another run',
    })
    write('evil', JSON.stringify({ ...note, host: 'far', purpose: '\u001b[2Jcreate' }))
    await expect(room.lock('writer', 'exclusive', options())).rejects.toMatchObject({
      message: expect.stringContaining('"\\u001b[2Jcreate" (user root, process'),
    })
    await (await room.lock('writer', 'shared', options())).release()
    expect(readdirSync(locks)).not.toContain('writer.dead.json')
  })

  test('go when their lock is released, and stale ones when the lock is taken exclusively', async () => {
    const { room, locks } = await newRoom()
    writeFileSync(join(locks, 'writer.4711-old.json'), '{}')
    writeFileSync(join(locks, 'delete.4711-old.json'), '{}')
    const lock = await room.lock('writer', 'exclusive', options())
    expect(readdirSync(locks).filter(name => name.startsWith('writer.'))).toHaveLength(1)
    await lock.release()
    expect(readdirSync(locks).sort()).toEqual(['delete.4711-old.json', 'writer'])
  })
})

describe('a lock file that is not ours', () => {
  test('is refused and not acted upon', async () => {
    const { room, locks, file } = await newRoom()
    const damage = { kind: 'damage', code: 'lock_file_damaged' }
    writeFileSync(join(locks, 'writer-journal'), 'hostile')
    await expect(room.lock('writer', 'exclusive', options())).rejects.toMatchObject(damage)
    rmSync(join(locks, 'writer-journal'))
    writeFileSync(file, 'SQLite format 3')
    await expect(room.lock('writer', 'exclusive', options())).rejects.toMatchObject(damage)
    rmSync(file)
    symlinkSync('/etc/passwd', file)
    await expect(room.lock('writer', 'exclusive', options())).rejects.toMatchObject({ code: 'repository_symlink' })
  })
})

test('a shared lock of a source that is not there makes nothing and says so', async () => {
  const path = temporaryDirectory()
  const repository = await initRepository(path, { now: new Date(0) })
  await expect(repository.source('typo').lock('delete', 'shared', options())).rejects.toMatchObject({
    kind: 'not-found',
    code: 'source_not_found',
  })
  expect(await repository.sources()).toEqual([])
})

test('where the system call is out of reach, SQLite takes the locks', async () => {
  vi.doMock('../../src/system/file-locks.js', () => ({ fileLocks: () => null }))
  vi.resetModules()
  onTestFinished(() => {
    vi.doUnmock('../../src/system/file-locks.js')
    vi.resetModules()
  })
  const { openLockFile } = await import('../../src/repository/storage/lock-file.js')
  const { file } = await newRoom()
  const [one, two] = [await openLockFile(file, file), await openLockFile(file, file)]
  expect([one.tryTake('shared'), two.tryTake('exclusive')]).toEqual([true, false])
  await expect(holdElsewhere(file, 'exclusive')).rejects.toThrow('SQLITE_BUSY')
  one.close()
  expect(two.tryTake('exclusive')).toBe(true)
  two.close()
})
