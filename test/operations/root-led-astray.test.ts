import { linkSync, lstatSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it } from 'vitest'
import { openJournal } from '../../src/journal/journal.js'
import { createKeyFile } from '../../src/keys/key-file.js'
import { initRepository } from '../../src/repository/open.js'
import { foldLog, holdExclusively, holdUnlessDamaged } from '../../src/sources/sqlite/fold.js'
import { Pin } from '../../src/sources/sqlite/pin.js'
import { giveToNobody, openRoom, victimOf } from '../end-to-end/helpers/exchanger.js'

const isRoot = process.getuid?.() === 0
const links = [
  ['a symbolic link', symlinkSync],
  ['a hard link', linkSync],
] as const

/** A directory of an ordinary user, and what is root's alone. */
function places() {
  const room = openRoom()
  const theirs = join(room, 'theirs')
  mkdirSync(theirs)
  giveToNobody(theirs)
  const victim = victimOf(room)
  // A hard link counts in it as long as it is there.
  const unharmed = (remove: string) => {
    rmSync(remove, { force: true, recursive: true })
    expect(victim.picture()).toEqual(before)
  }
  const before = victim.picture()
  return { room, theirs, victim, unharmed }
}

function databaseIn(directory: string, mode: 'wal' | 'delete'): string {
  const path = join(directory, 'app.db')
  const made = new Database(path)
  made.pragma(`journal_mode = ${mode}`)
  made.exec('CREATE TABLE t (a); INSERT INTO t VALUES (1)')
  made.close()
  giveToNobody(directory)
  return path
}

const sidecars = [
  ['-wal', 'wal'],
  ['-shm', 'wal'],
  ['-journal', 'delete'],
] as const
const uses: readonly (readonly [string, (path: string) => unknown])[] = [
  ['captured', path => Pin.on(path, new AbortController().signal)],
  ['completed', async path => foldLog(path)],
  ['locked', async path => holdExclusively(path)],
  ['locked unless it is damaged', async path => holdUnlessDamaged(path)],
]

describe.skipIf(!isRoot)("root, at what another user's link leads to,", () => {
  for (const [kind, link] of links) {
    it.each(sidecars)(`opens no database beside which ${kind} is called %s`, async (suffix, mode) => {
      for (const [, use] of uses) {
        const { theirs, victim, unharmed } = places()
        const path = databaseIn(theirs, mode)
        link(victim.secret, path + suffix)
        await expect(use(path)).rejects.toMatchObject({
          kind: 'refused',
          code: 'sidecar_linked',
          hint: expect.stringContaining(`ls -li ${path}${suffix}`),
        })
        unharmed(path + suffix)
      }
    })

    it(`writes no journal: ${kind} to a database, an empty file or a secret`, () => {
      for (const name of ['catalog.db', 'catalog.db-journal']) {
        const { theirs, victim, unharmed } = places()
        const journal = openJournal(theirs, {
          now: () => new Date(),
          host: 'db1',
          operator: { user: 'root', sudo_user: null },
        })
        journal.begin({ operation: 'create', source: 'app', repository: null }).end({ result: 'done' })
        journal.close()
        for (const aim of [victim.database, victim.secret]) {
          rmSync(join(theirs, name), { force: true })
          link(aim, join(theirs, name))
          const again = openJournal(theirs, {
            now: () => new Date(),
            host: 'db1',
            operator: { user: 'root', sudo_user: null },
          })
          for (const use of [() => again.begin({ operation: 'x', source: null, repository: null }), again.read]) {
            expect(use).toThrow(expect.objectContaining({ kind: 'refused' }))
          }
          again.close()
        }
        unharmed(join(theirs, name))
      }
    })
  }

  it('makes no repository, and gives no empty directory away', async () => {
    for (const owner of [undefined, 'nobody']) {
      const { theirs, victim, unharmed } = places()
      const repository = join(theirs, 'repository')
      symlinkSync(victim.empty, repository)
      giveToNobody(repository)
      const options = owner === undefined ? {} : { owner }
      await expect(initRepository(repository, { ...options, now: new Date() })).rejects.toMatchObject({
        kind: 'refused',
        code: 'link_of_another_user',
      })
      unharmed(repository)
    }
  })

  it('makes a repository where a link of its own leads', async () => {
    const { room, theirs } = places()
    const link = join(room, 'link')
    symlinkSync(join(theirs, 'repository'), link)
    mkdirSync(join(theirs, 'repository'))
    await initRepository(link, { owner: 'nobody', now: new Date() })
    expect(lstatSync(join(theirs, 'repository', 'nexus-backup.json')).uid).toBe(65534)
  })

  it('makes no key file', () => {
    const { theirs, victim, unharmed } = places()
    symlinkSync(victim.empty, join(theirs, 'keys'))
    giveToNobody(join(theirs, 'keys'))
    expect(() => createKeyFile(join(theirs, 'keys', 'key'), new Date())).toThrow(
      expect.objectContaining({ kind: 'refused', code: 'link_of_another_user' }),
    )
    unharmed(join(theirs, 'keys'))
  })

  it('leaves no key where its directory has gone meanwhile, and no draft', () => {
    const { theirs } = places()
    createKeyFile(join(theirs, 'key'), new Date())
    renameSync(theirs, `${theirs}-aside`)
    expect(() => createKeyFile(join(theirs, 'key'), new Date())).toThrow(
      expect.objectContaining({ code: 'key_file_not_written' }),
    )
    writeFileSync(theirs, '')
    expect(readdirSync(`${theirs}-aside`)).toEqual(['key'])
  })
})
