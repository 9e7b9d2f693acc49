import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { copyingWriter } from '../../src/operations/create/copying-writer.js'
import type { PartWriter } from '../../src/repository/storage/storage.js'
import { temporaryDirectory } from '../helpers/temporary.js'

const part = { name: 'tree', bytes: 3, sha256: '' }
const taking: PartWriter = { write: async () => {}, close: async () => part }

/** Whether this process has a file open (Linux). */
function isOpen(path: string): boolean {
  return readdirSync('/proc/self/fd').some(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path
    } catch {
      return false
    }
  })
}

test('a copy has what the part has', async () => {
  const path = join(temporaryDirectory(), 'tree')
  const writer = copyingWriter(taking, path)
  await writer.write(Buffer.from('a'))
  await writer.write(Buffer.from('bc'))
  expect(await writer.close()).toEqual(part)
  await writer.release()
  expect(readFileSync(path, 'utf8')).toBe('abc')
})

test('a copy is closed when the part fails', async () => {
  const path = join(temporaryDirectory(), 'tree')
  const writer = copyingWriter({ ...taking, write: () => Promise.reject(new Error('full')) }, path)
  await expect(writer.write(Buffer.from('a'))).rejects.toThrow('full')
  expect(isOpen(path)).toBe(true)
  await writer.release()
  await writer.release()
  expect(isOpen(path)).toBe(false)
})

test('a copy that cannot be opened fails the write and nothing else', async () => {
  const writer = copyingWriter(taking, join(temporaryDirectory(), 'no/such/tree'))
  await expect(writer.write(Buffer.from('a'))).rejects.toThrow('ENOENT')
  await writer.release()
})
