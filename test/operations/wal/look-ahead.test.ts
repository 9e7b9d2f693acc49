import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { stampOf } from '../../../src/operations/wal/note.js'
import { testContext } from '../../helpers/context.js'
import { segmentBytes } from '../../sources/postgres/segments.js'
import { now, type WalCalls, walCalls } from './calls.js'

const root = process.getuid?.() === 0
const stored = (names: readonly string[]) => names.map(name => `${name}.stored`)

async function expectStored(at: WalCalls, names: readonly string[]): Promise<void> {
  expect(await at.archive.names()).toEqual([...names].sort())
  for (const name of names) expect((await at.archive.read(name)).plain.equals(at.plain(name)), name).toBe(true)
}

describe('looking ahead', () => {
  it.each([
    ['by itself', [1, 2, 3]],
    ['with a second thread', [1, 2, 3, 4, 5, 6, 7, 8, 9]],
  ])('archives what else is ready %s, and leaves a note for each', async (_, numbers) => {
    const at = await walCalls()
    const [first = '', ...others] = at.ready(numbers)
    expect((await at.archiveFile(first)).ahead).toEqual(others)
    await expectStored(at, [first, ...others])
    expect(at.inSpool()).toEqual(stored(others))
    const [second = ''] = others
    expect(readFileSync(at.wal('.nexus-backup', `${second}.stored`), 'utf8').split('\n')).toEqual([
      'nexus-backup note 1',
      at.ahead.key,
      `= ${stampOf(at.wal(second))} ${at.wal(second)}`,
      `= ${stampOf(at.stored(second))} ${at.stored(second)}`,
      ...at.ahead.files,
      '',
    ])
  })

  it('takes the segments in the server’s order, histories first', async () => {
    const at = await walCalls()
    const [first = ''] = at.ready([5])
    const [fourth = '', sixth = ''] = at.ready([4, 6])
    writeFileSync(at.wal('00000002.history'), '1\t0/300000\tno recovery target specified\n')
    for (const name of ['00000002.history.ready', 'nonsense.ready', `${first}.done`]) {
      writeFileSync(at.wal('archive_status', name), '')
    }
    expect((await at.archiveFile(first)).ahead).toEqual(['00000002.history', fourth, sixth])
  })

  /** Makes the third of the files that are ready one that cannot be archived, and puts it right again. */
  const stuck: [string, (at: WalCalls, name: string) => Promise<() => void> | (() => void), string][] = [
    [
      'no segment',
      (at, name) => {
        writeFileSync(at.wal(name), 'broken')
        return () => writeFileSync(at.wal(name), segmentBytes(3))
      },
      'wal_malformed',
    ],
    [
      'another system’s',
      (at, name) => {
        writeFileSync(at.wal(name), segmentBytes(3, { systemIdentifier: '42' }))
        return () => writeFileSync(at.wal(name), segmentBytes(3))
      },
      'wal_foreign',
    ],
    [
      'gone',
      (at, name) => {
        rmSync(at.wal(name))
        return () => writeFileSync(at.wal(name), segmentBytes(3))
      },
      'wal_unreadable',
    ],
    [
      'archived already with another content',
      async (at, name) => {
        const closedAt = new Date(now)
        await at.archive.put(name, segmentBytes(3, { fill: 99 }), { closedAt, now })
        return () => rmSync(at.stored(name))
      },
      'wal_differs',
    ],
    [
      'damaged in the archive',
      async (at, name) => {
        await at.archive.put(name, segmentBytes(3), { closedAt: now, now })
        truncateSync(at.stored(name), 200)
        return () => rmSync(at.stored(name))
      },
      'wal_damaged',
    ],
  ]

  it.each(stuck)('passes over a file that is %s, and stores those after it', async (_, spoil, code) => {
    const at = await walCalls()
    const [first = '', second = '', broken = '', fourth = ''] = at.ready([1, 2, 3, 4])
    const repair = await spoil(at, broken)
    const { result, ahead } = await at.archiveFile(first)
    expect([result, ahead]).toEqual(['stored', [second, fourth]])
    expect(at.inSpool()).toEqual(stored([second, fourth]))
    // The server asks for it until it is archived, while others become ready: it is never taken for archived.
    const [fifth = '', sixth = ''] = at.ready([5, 6])
    await expect(at.archiveFile(broken)).rejects.toMatchObject({
      code,
      hint: expect.stringMatching(
        /; the server asks for this file until it is archived; 3 others that were ready are stored already$/,
      ),
    })
    expect(at.inSpool()).toEqual(stored([first, second, fourth, fifth, sixth]))
    // What has a note is not read again.
    const again: unknown = await at.archiveFile(broken).catch(error => error)
    expect(again).toMatchObject({ code, hint: expect.not.stringContaining('stored already') })
    repair()
    expect((await at.archiveFile(broken)).ahead).toEqual([])
    await expectStored(at, [first, second, broken, fourth, fifth, sixth])
  })

  it('stores nothing ahead on a dry run of a file that cannot be archived, nor for who wants it alone', async () => {
    const at = await walCalls()
    const [first = ''] = at.ready([1, 2])
    writeFileSync(at.wal(first), 'broken')
    for (const wish of [{ dryRun: true }, { ahead: null }]) {
      await expect(at.archiveFile(first, wish)).rejects.toMatchObject({ code: 'wal_malformed' })
    }
    expect(await at.archive.names()).toEqual([])
  })

  it('leaves the others alone when the server does not wait for this one', async () => {
    const at = await walCalls()
    const [first = ''] = at.ready([1, 2])
    rmSync(at.wal('archive_status', `${first}.ready`))
    expect((await at.archiveFile(first)).ahead).toEqual([])
    expect(await at.archive.names()).toEqual([first])
    expect(at.inSpool()).toEqual([])
    // And where there is no archive_status at all, as with a file from elsewhere.
    rmSync(at.wal('archive_status'), { recursive: true })
    expect((await at.archiveFile(first)).ahead).toEqual([])
  })

  it('removes notes that nobody will ask for, and what a killed run left in the archive', async () => {
    const at = await walCalls()
    const [first = '', second = ''] = at.ready([1, 2])
    await at.archiveFile(first)
    rmSync(at.wal('archive_status', `${first}.ready`))
    rmSync(at.wal('archive_status', `${second}.ready`))
    writeFileSync(at.wal('.nexus-backup', 'something else'), '')
    const left = ['.partial-old', '.partial-new'].map(name => join(at.stored(first), '..', name))
    for (const [index, path] of left.entries()) {
      writeFileSync(path, 'half')
      const changed = new Date(now.getTime() - (index === 0 ? 2 : 0.5) * 3_600_000)
      utimesSync(path, changed, changed)
    }
    const [third = ''] = at.ready([3])
    await at.archiveFile(third)
    expect(at.inSpool()).toEqual(['something else'])
    // Half an hour old: its writer may live.
    expect(left.map(path => existsSync(path))).toEqual([false, true])
    await expectStored(at, [first, second, third])
  })

  it('stops after a signal, and when the server has waited long enough', async () => {
    const at = await walCalls()
    const [first = '', ...others] = at.ready([1, 2, 3, 4])
    const stopped = testContext({ now: () => now, signal: AbortSignal.abort() })
    expect((await at.archiveFile(first, {}, stopped)).ahead).toEqual([])
    let hours = 0
    const slow = testContext({ now: () => new Date(now.getTime() + 3_600_000 * hours++) })
    expect((await at.archiveFile(first, {}, slow)).ahead).toEqual([])
    expect(await at.archive.names()).toEqual([first])
    expect((await at.archiveFile(first)).ahead).toEqual(others)
  })

  it('ends before a file that is gone or that is more than it may take at once', async () => {
    const at = await walCalls()
    const [first = '', second = '', third = ''] = at.ready([1, 2, 3])
    // Sparse: only its size is looked at.
    truncateSync(at.wal(third), 3 * 1024 ** 3)
    expect((await at.archiveFile(first)).ahead).toEqual([second])
    rmSync(at.wal(third))
    expect((await at.archiveFile(second)).ahead).toEqual([first])
    expect(await at.archive.names()).toEqual([first, second])
  })

  it('takes large segments one by one', async () => {
    const at = await walCalls()
    const names = at.ready([1, 2, 3, 4, 5, 6], { segmentBytes: 32 * 1024 * 1024 })
    const [first = '', ...others] = names
    expect((await at.archiveFile(first)).ahead).toEqual(others)
    await expectStored(at, names)
  })

  it('goes without where no spool can be made', async () => {
    const at = await walCalls()
    const [first = ''] = at.ready([1, 2])
    writeFileSync(at.wal('.nexus-backup'), 'a file')
    expect(await at.archiveFile(first)).toMatchObject({ result: 'stored', ahead: [] })
    expect(readFileSync(at.wal('.nexus-backup'), 'utf8')).toBe('a file')
  })

  it.skipIf(!root)('leaves no notes as root in another user’s directory', async () => {
    const at = await walCalls()
    const [first = ''] = at.ready([1, 2])
    chownSync(at.wal(), 65534, 65534)
    expect((await at.archiveFile(first)).ahead).toEqual([])
    expect(existsSync(at.wal('.nexus-backup'))).toBe(false)
    expect(await at.archive.names()).toEqual([first])
  })

  it('archives neither what is no file nor what is another segment', async () => {
    const at = await walCalls()
    const [first = '', second = ''] = at.ready([1, 2])
    rmSync(at.wal(second))
    mkdirSync(at.wal(second))
    expect((await at.archiveFile(first)).ahead).toEqual([])
    rmSync(at.wal(second), { recursive: true })
    symlinkSync(first, at.wal(second))
    expect((await at.archiveFile(first)).ahead).toEqual([])
    expect(await at.archive.names()).toEqual([first])
  })
})
