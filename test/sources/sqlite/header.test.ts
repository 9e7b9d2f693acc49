import { openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { lockBytePage, readHeader } from '../../../src/sources/sqlite/header.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

function made(pageSize: number, mode: string): string {
  const path = join(temporaryDirectory(), 'a.db')
  const database = new Database(path)
  database.pragma(`page_size = ${pageSize}`)
  database.pragma(`journal_mode = ${mode}`)
  database.exec('CREATE TABLE t (a)')
  database.close()
  return path
}

function headerOf(bytes: Buffer) {
  const path = join(temporaryDirectory(), 'b.db')
  writeFileSync(path, bytes)
  return readHeader(openSync(path, 'r'), path)
}

describe('readHeader', () => {
  test.each([512, 1024, 4096, 32768, 65536])('reads the page size %d', pageSize => {
    expect(headerOf(readFileSync(made(pageSize, 'delete')))).toEqual({ pageSize, wal: false })
  })

  test('tells a database that keeps a write-ahead log', () => {
    expect(headerOf(readFileSync(made(4096, 'wal'))).wal).toBe(true)
  })

  test('says that a file of zero bytes is empty', () => {
    expect(() => headerOf(Buffer.alloc(0))).toThrow(/is empty: zero bytes/)
  })

  test('refuses other magic, a cut header and page sizes that SQLite does not know', () => {
    const good = readFileSync(made(4096, 'wal'))
    expect(() => headerOf(good.subarray(0, 99))).toThrow(/encrypted or not a SQLite database/)
    expect(() => headerOf(Buffer.concat([Buffer.from('X'), good.subarray(1)]))).toThrow(/encrypted or not/)
    for (const pageSize of [0, 2, 256, 511, 513, 4097, 65535]) {
      const bad = Buffer.from(good)
      bad.writeUInt16BE(pageSize, 16)
      expect(() => headerOf(bad), String(pageSize)).toThrow(/damaged header/)
    }
  })
})

test('the lock-byte page holds byte 2^30 at every page size', () => {
  for (let pageSize = 512; pageSize <= 65536; pageSize *= 2) {
    expect((lockBytePage(pageSize) - 1) * pageSize).toBe(2 ** 30)
  }
})
