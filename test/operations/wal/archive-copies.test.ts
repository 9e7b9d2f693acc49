import { readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { PostgresSourceSettings, RepositorySettings } from '../../../src/config/settings.js'
import type { Context } from '../../../src/context.js'
import { addKeys } from '../../../src/operations/keys/add-keys.js'
import { walReader } from '../../../src/operations/sealing/wal-seal-for.js'
import { copyLags, lagConcerns } from '../../../src/operations/wal/copy-lag.js'
import { stampOf } from '../../../src/operations/wal/note.js'
import { initRepository, openRepository } from '../../../src/repository/open.js'
import { testContext } from '../../helpers/context.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { system } from '../../sources/postgres/segments.js'
import { listeningJournal } from '../application.js'
import { accessWith, keyFile } from '../sealing/encrypted.js'
import { clusterSource, now, settingsOf, type WalCalls, walCalls } from './calls.js'

const MINUTE = 60_000

interface Place {
  at: WalCalls
  offsite: RepositorySettings
  source: PostgresSourceSettings
  warnings: string[]
  /** Archives as a call at this minute. */
  archive(name: string, minute?: number, context?: Context): Promise<string[]>
  copied(): Promise<string[]>
  /** What the copy's file has, beside the repository's own. */
  files(name: string): [Buffer, Buffer]
  /** The copy's disk is taken out, and put back. */
  away(isAway: boolean): void
}

async function place(walCopies: 'sync' | 'async'): Promise<Place> {
  const at = await walCalls()
  const offsite = { name: 'offsite', path: join(temporaryDirectory(), 'offsite') }
  await initRepository(offsite, { now })
  const source = clusterSource(at.repository, { copies: [{ repository: offsite, keep: {} }], walCopies })
  const settings = settingsOf([source], [source.repository])
  const warnings: string[] = []
  const path = (name: string, repository: string) => join(repository, at.storedName(name))
  return {
    at,
    offsite,
    source,
    warnings,
    async archive(name, minute = 0, context = at.context) {
      const by = {
        ...context,
        now: () => new Date(now.getTime() + minute * MINUTE),
        warn: (text: string) => void warnings.push(text),
      }
      return (await at.archiveFile(name, { settings }, by)).ahead
    },
    copied: async () => (await openRepository(offsite)).source('main').wal(system).names(),
    files: name => [readFileSync(path(name, at.repository)), readFileSync(path(name, offsite.path))],
    away: isAway => {
      const [from, to] = [offsite.path, `${offsite.path}.away`]
      renameSync(isAway ? from : to, isAway ? to : from)
    },
  }
}

/** As the server says of a file that it need not ask for again. */
function done(at: WalCalls, name: string): void {
  rmSync(at.wal('archive_status', `${name}.ready`))
}

describe('a copy that the server waits for', () => {
  it('has every file that a call answers for, byte for byte', async () => {
    const { at, archive, copied, files, offsite } = await place('sync')
    const [first = '', ...others] = at.ready([1, 2, 3])
    expect(await archive(first)).toEqual(others)
    expect(await copied()).toEqual([first, ...others])
    for (const name of [first, ...others]) {
      const [own, copy] = files(name)
      expect(own.equals(copy), name).toBe(true)
    }
    // The shell answers for a file as long as it lies in both.
    const [second = ''] = others
    const lying = join(offsite.path, at.storedName(second))
    expect(readFileSync(at.wal('.nexus-backup', `${second}.stored`), 'utf8')).toContain(`= ${stampOf(lying)} ${lying}`)
  })

  it('fails the call while it is away, whose file it has when it is back', async () => {
    const { at, archive, copied, away } = await place('sync')
    const [first = '', second = ''] = at.ready([1, 2])
    away(true)
    await expect(archive(first)).rejects.toMatchObject({
      code: 'repository_missing',
      message: expect.stringContaining(`${first} is archived, and its copy in`),
      hint: expect.stringContaining('wal_copies: async'),
    })
    expect(await at.archive.names()).toEqual([first])
    expect(at.inSpool()).toEqual([])
    away(false)
    expect(await archive(first)).toEqual([second])
    expect(await copied()).toEqual([first, second])
  })

  it('never answers ahead for a file that it has not', async () => {
    const { at, archive, offsite } = await place('sync')
    const [first = ''] = at.ready([1])
    await archive(first)
    done(at, first)
    const [second = '', third = ''] = at.ready([2, 3])
    // Somebody put another file in its place.
    const taken = join(offsite.path, at.storedName(third))
    renameSync(join(offsite.path, at.storedName(first)), taken)
    expect(await archive(second)).toEqual([])
    expect(at.inSpool()).toEqual([])
    await expect(archive(third)).rejects.toMatchObject({ kind: 'damage' })
    rmSync(taken)
    await archive(third)
  })

  it('is not taken from another cluster', async () => {
    const { at, archive, offsite } = await place('sync')
    const room = (await openRepository(offsite)).source('main')
    const claim = { kind: 'postgres' as const, host: 'other', path: null, system_identifier: '7000000000000000001' }
    await room.enter(claim, { adopt: false, now })
    const [first = ''] = at.ready([1])
    await expect(archive(first)).rejects.toMatchObject({ kind: 'refused' })
  })
})

describe('a copy that the server does not wait for', () => {
  it('is made by the same call', async () => {
    const { at, archive, copied } = await place('async')
    const [first = '', ...others] = at.ready([1, 2, 3])
    await archive(first)
    expect(await copied()).toEqual([first, ...others])
  })

  it('keeps no segment from being archived while it is away, and has them all when it is back', async () => {
    const { at, archive, copied, away, warnings } = await place('async')
    const [first = ''] = at.ready([1])
    await archive(first)
    away(true)
    const names = at.ready([2, 3, 4])
    for (const name of names) await archive(name, 1)
    expect(await at.archive.names()).toEqual([first, ...names])
    // It is tried once, and left alone for a while.
    expect(warnings).toEqual([expect.stringContaining('is not copied to')])
    away(false)
    const [fifth = ''] = at.ready([5])
    await archive(fifth, 2)
    expect(await copied()).toEqual([first])
    const [sixth = ''] = at.ready([6])
    await archive(sixth, 30)
    expect(await copied()).toEqual([first, ...names, fifth, sixth])
    expect(at.inSpool().filter(name => name.startsWith('copy-'))).toEqual([])
  })

  it('begins with what is archived now, and not with years of it', async () => {
    const { at, archive, copied } = await place('async')
    const [old = '', later = ''] = at.ready([1, 2])
    await at.archiveFile(old, { ahead: null })
    done(at, old)
    await archive(later)
    expect(await copied()).toEqual([later])
  })
})

describe('how far a copy is behind', () => {
  it('is what `copy` would bring, since the oldest was finished', async () => {
    const { at, archive, away, source } = await place('async')
    const [first = '', second = ''] = at.ready([1, 2])
    await archive(first)
    expect(await copyLags(at.context, source)).toMatchObject([{ behind: 0, since: null, problem: null }])
    away(true)
    const lags = await copyLags(at.context, source)
    expect(lags).toMatchObject([{ behind: null, problem: expect.stringContaining('offsite') }])
    expect(lagConcerns('main', lags, now)).toMatchObject([{ code: 'copy_unreachable' }])
    expect(second).not.toBe('')
  })

  it('is of concern when it lasts', () => {
    const lag = { repository: '/offsite', behind: 3, since: '2025-12-01T00:00:00Z', problem: null }
    const late = (minutes: number) => lagConcerns('main', [lag], new Date(now.getTime() + minutes * MINUTE))
    expect(late(10)).toEqual([])
    expect(late(20)).toMatchObject([
      { code: 'copy_behind', message: expect.stringContaining('3 files of WAL for 20 minutes') },
    ])
  })
})

it.each(['sync', 'async'] as const)('an encrypted archive is copied sealed, with what opens it: %s', async mode => {
  const { at, archive, offsite, source } = await place(mode)
  const key = keyFile()
  const state = temporaryDirectory()
  const context = testContext({ ...at.context, keys: accessWith(key), stateDirectory: state })
  await addKeys(context, listeningJournal(), { repository: source.repository, recipients: [key], label: null })
  const [first = ''] = at.ready([1])
  await archive(first, 0, context)
  // Nothing is left but the copy and the key.
  const copy = await openRepository(offsite)
  expect(readdirSync(join(offsite.path, 'keys')).length).toBeGreaterThan(0)
  const elsewhere = testContext({ keys: accessWith(key), stateDirectory: temporaryDirectory() })
  const reader = { ...walReader(elsewhere, copy), judge: async () => undefined }
  const { plain } = await copy.source('main').wal(system, reader).read(first)
  expect(plain.equals(at.plain(first))).toBe(true)
})
