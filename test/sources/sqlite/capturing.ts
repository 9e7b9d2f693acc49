import { createHash } from 'node:crypto'
import { mkdirSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { ZEROS } from '../../../src/image/types.js'
import { captureSqlite, type SqliteCapture } from '../../../src/sources/sqlite/capture.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

/** Captures a database as a run of create does. Closed when the test ends, at the latest. */
export async function capture(path: string): Promise<SqliteCapture> {
  const staging = join(temporaryDirectory(), 'staging')
  mkdirSync(staging)
  const uid = process.geteuid?.() ?? 0
  const captured = await captureSqlite(path, {
    uid,
    staging,
    signal: new AbortController().signal,
    now: () => new Date(),
  })
  let closed: Promise<void> | undefined
  const close = () => {
    closed ??= captured.close()
    return closed
  }
  onTestFinished(close)
  return { ...captured, close }
}

/** All bytes of an image, by the extents that the workers get. */
export function bytesOf({ image }: SqliteCapture): Buffer {
  const bytes = Buffer.alloc(image.size)
  let at = 0
  for (const { fd, position, length } of image.extents(0, image.size / image.blockSize)) {
    if (fd !== ZEROS && readSync(fd, bytes, at, length, position) !== length) throw new Error('the image is cut short')
    at += length
  }
  return bytes
}

/** One digest a block. */
export function digestsOf(bytes: Buffer, blockSize: number): string[] {
  const digests: string[] = []
  for (let at = 0; at < bytes.length; at += blockSize) {
    digests.push(
      createHash('sha1')
        .update(bytes.subarray(at, at + blockSize))
        .digest('hex'),
    )
  }
  return digests
}
