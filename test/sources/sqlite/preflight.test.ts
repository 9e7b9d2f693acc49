import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { NexusError } from '../../../src/errors.js'
import { openDatabaseFile } from '../../../src/sources/sqlite/preflight.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

const uid = process.geteuid?.() ?? 0
const root = uid === 0

function database(directory = temporaryDirectory()): string {
  const path = join(directory, 'a.db')
  const made = new Database(path)
  made.exec('CREATE TABLE t (a)')
  made.close()
  return path
}

function refusal(path: string, as = uid): { kind: string; code: string; message: string; hint: string | undefined } {
  try {
    closeSync(openDatabaseFile(path, as).fd)
  } catch (error) {
    if (error instanceof NexusError) return error
    throw error
  }
  throw new Error('it was not refused')
}

describe('openDatabaseFile', () => {
  test('opens a database and tells what it is', () => {
    const path = database()
    const opened = openDatabaseFile(path, uid)
    closeSync(opened.fd)
    expect(opened).toMatchObject({ path, uid, size: readFileSync(path).length, header: { wal: false } })
  })

  test('follows symbolic links to where the sidecars lie', () => {
    const path = database()
    const link = join(temporaryDirectory(), 'link.db')
    symlinkSync(path, link)
    const opened = openDatabaseFile(link, uid)
    closeSync(opened.fd)
    expect(opened.path).toBe(path)
  })

  test.each([
    ['a missing file', () => join(temporaryDirectory(), 'no.db')],
    ['a path through a file', () => join(database(), 'below.db')],
    [
      'a dangling link',
      () => {
        const link = join(temporaryDirectory(), 'link.db')
        symlinkSync('/nonexistent/a.db', link)
        return link
      },
    ],
  ])('says that there is no database at %s', (_, path) => {
    expect(refusal(path())).toMatchObject({ kind: 'not-found', code: 'source_missing' })
  })

  test('refuses a directory as such', () => {
    expect(refusal(temporaryDirectory())).toMatchObject({ kind: 'failed', code: 'source_is_directory' })
  })

  test.each([
    ['zero bytes', Buffer.alloc(0), /empty: zero bytes/],
    ['random bytes, as an encrypted database looks', randomBytes(8192), /encrypted or not a SQLite database/],
    ['text', Buffer.from('SQLite'), /encrypted or not a SQLite database/],
  ])('refuses a file of %s', (_, bytes, message) => {
    const path = join(temporaryDirectory(), 'a.db')
    writeFileSync(path, bytes)
    expect(refusal(path)).toMatchObject({ code: 'not_a_database', message: expect.stringMatching(message) })
  })

  test('refuses a pipe without waiting for its writer', () => {
    const path = join(temporaryDirectory(), 'pipe')
    execFileSync('mkfifo', [path])
    expect(refusal(path)).toMatchObject({ code: 'not_a_database' })
  })

  test('names the owner to an unprivileged user who is not it', () => {
    const path = database()
    const other = root ? 65534 : uid + 1
    const error = refusal(path, other)
    expect(error).toMatchObject({ kind: 'refused', code: 'not_owner' })
    if (root) expect(error.hint).toContain('sudo -u root ')
  })

  test.skipIf(!root)('lets root read what belongs to another user', () => {
    const path = database()
    chownSync(path, 65534, 65534)
    const opened = openDatabaseFile(path, 0)
    closeSync(opened.fd)
    expect(opened.uid).toBe(65534)
  })

  test.skipIf(root)('says that it may not read a file without permission (root may: skipped for it)', () => {
    const path = database()
    chmodSync(path, 0)
    expect(refusal(path)).toMatchObject({ kind: 'failed', code: 'source_unreadable' })
  })

  test.skipIf(root)('says that it may not enter the directory (root may: skipped for it)', () => {
    const directory = join(temporaryDirectory(), 'closed')
    mkdirSync(directory)
    const path = database(directory)
    chmodSync(directory, 0)
    expect(refusal(path)).toMatchObject({ code: 'source_unreadable' })
    chmodSync(directory, 0o700)
  })

  test('refuses a database that this very process has open, under whatever name', () => {
    const path = database()
    const name = join(temporaryDirectory(), 'other.db')
    linkSync(path, name)
    const held = openSync(name, 'r')
    expect(refusal(path)).toMatchObject({ kind: 'refused', code: 'source_open_here' })
    closeSync(held)
    closeSync(openDatabaseFile(path, uid).fd)
  })
})
