import { getEventListeners } from 'node:events'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { decompress } from 'zstd-napi'
import { WorkerPool } from '../../../src/image/workers/pool.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { xxh } from '../parts.js'

function started(signal = new AbortController().signal): WorkerPool {
  const pool = WorkerPool.start(signal, 2)
  onTestFinished(() => pool.stop())
  return pool
}

function scanTask(fd: number, length: number) {
  const runs = [{ offset: 0, length, blockSize: 512, count: Math.ceil(length / 512) }]
  const bytes = [[{ fd, position: 0, length }]]
  const known = new Uint32Array(1)
  return { kind: 'scan' as const, digest: xxh, bytes, length, runs, known, before: new Uint8Array(0) }
}

describe('WorkerPool', () => {
  test('gives each task its own answer, in whatever order they end', async () => {
    const pool = started()
    const texts = Array.from({ length: 40 }, (_, at) => Buffer.alloc(1 + at * 1000, at))
    const packed = await Promise.all(
      texts.map(text => pool.run({ kind: 'pack', level: 1, bytes: Uint8Array.from(text) })),
    )
    expect(packed.map(({ stored }) => decompress(stored).length)).toEqual(texts.map(text => text.length))
    expect(packed.every(({ stored }, at) => decompress(stored).equals(texts[at] ?? Buffer.alloc(0)))).toBe(true)
  })

  test('fails a task that reads beyond the end of a file, and goes on with others', async () => {
    const pool = started()
    const path = join(temporaryDirectory(), 'f')
    writeFileSync(path, Buffer.alloc(1000))
    const fd = openSync(path, 'r')
    await expect(pool.run(scanTask(fd, 1001))).rejects.toMatchObject({
      code: 'block_io_failed',
      message: expect.stringContaining('shorter'),
    })
    expect((await pool.run(scanTask(fd, 1000))).changed.length).toBe(2)
    closeSync(fd)
  })

  test('fails a task on a descriptor that is closed', async () => {
    const pool = started()
    await expect(pool.run(scanTask(987_654, 512))).rejects.toMatchObject({ kind: 'failed', code: 'block_io_failed' })
  })

  test('rejects what is under way and what comes later when it is interrupted', async () => {
    const controller = new AbortController()
    const pool = started(controller.signal)
    const task = { kind: 'pack' as const, level: 1, bytes: new Uint8Array(5_000_000) }
    const running = pool.run(task)
    controller.abort()
    await expect(running).rejects.toMatchObject({ kind: 'interrupted' })
    await expect(pool.run(task)).rejects.toMatchObject({ kind: 'interrupted' })
    await expect(started(AbortSignal.abort()).run(task)).rejects.toMatchObject({ kind: 'interrupted' })
  })

  test('listens to the signal no longer once it is stopped: Node warns of the eleventh listener', async () => {
    const { signal } = new AbortController()
    const pool = started(signal)
    expect(getEventListeners(signal, 'abort')).toHaveLength(1)
    await pool.stop()
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })

  test('rejects what is under way when it is stopped', async () => {
    const pool = started()
    const running = pool.run({ kind: 'pack', level: 1, bytes: new Uint8Array(5_000_000) })
    const settled = expect(running).rejects.toThrow(/stopped|ended/)
    await pool.stop()
    await settled
  })

  /** Tasks of 1 MiB, one after another. */
  async function pack(pool: WorkerPool, tasks: number): Promise<void> {
    for (let task = 0; task < tasks; task += 1) {
      const bytes = new Uint8Array(1 << 20).fill(task)
      const { stored } = await pool.run({ kind: 'pack', level: 1, bytes }, [bytes.buffer])
      expect(bytes).toHaveLength(0)
      expect(decompress(stored).equals(Buffer.alloc(1 << 20, task))).toBe(true)
    }
  }

  test('starts no thread for little work, and one more for every 4 MiB of it', async () => {
    const pool = started()
    expect(pool.width).toBe(4)
    await pack(pool, 3)
    expect(pool.threads).toBe(0)
    await pack(pool, 1)
    expect(pool.threads).toBe(1)
    await pack(pool, 40)
    expect(pool.threads).toBe(2)
  })

  test('lets signals and timers in while blocks are scanned that need nothing else', async () => {
    const path = join(temporaryDirectory(), 'f')
    writeFileSync(path, Buffer.alloc(64 << 20))
    const fd = openSync(path, 'r')
    const controller = new AbortController()
    const pool = started(controller.signal)
    setImmediate(() => setImmediate(() => controller.abort()))
    let scanned = 0
    const scanning = (async () => {
      for (; scanned < 64; scanned += 1) await pool.run(scanTask(fd, 1 << 20))
    })()
    await expect(scanning).rejects.toMatchObject({ kind: 'interrupted' })
    expect(scanned).toBeLessThan(10)
    await pool.stop()
    closeSync(fd)
  })

  test('reads no file of a task any more once it is stopped, with threads or without', async () => {
    const path = join(temporaryDirectory(), 'f')
    for (const length of [512, 16 << 20]) {
      writeFileSync(path, Buffer.alloc(length))
      const fd = openSync(path, 'r')
      const pool = started()
      const settled = expect(pool.run(scanTask(fd, length))).rejects.toThrow(/stopped|ended/)
      await pool.stop()
      closeSync(fd)
      await settled
    }
  })
})
