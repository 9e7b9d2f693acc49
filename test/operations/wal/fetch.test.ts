import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { stampOf } from '../../../src/operations/wal/note.js'
import { controlBytes, system } from '../../sources/postgres/segments.js'
import { now, type WalCalls, walCalls } from './calls.js'

const root = process.getuid?.() === 0
const place = 'RECOVERYXLOG'
const unknown = '0000000100000000000000FF'

/** A data directory whose segments are archived and are not in pg_wal any more. */
async function archived(numbers: readonly number[]): Promise<{ at: WalCalls; names: string[]; bytes: Buffer[] }> {
  const at = await walCalls()
  const names = at.ready(numbers)
  for (const name of names) await at.archiveFile(name, { ahead: null })
  const bytes = names.map(at.plain)
  for (const name of names) rmSync(at.wal(name))
  return { at, names, bytes }
}

function damage(path: string): void {
  const bytes = readFileSync(path)
  bytes[bytes.length - 20] = (bytes.at(-20) ?? 0) ^ 1
  writeFileSync(path, bytes)
}

/** What a fetch may leave in pg_wal. */
const leftovers = (at: WalCalls) => readdirSync(at.wal()).filter(name => name.includes('.nexus'))

describe('fetching a file of the archive', () => {
  it('puts it where the server wants it, whole, and says from where', async () => {
    const { at, names, bytes } = await archived([1])
    const [name = ''] = names
    expect(await at.fetchFile(name, { ahead: null })).toEqual({
      command: 'pitr fetch',
      source: 'main',
      system_identifier: system,
      name,
      path: at.wal(place),
      ahead: [],
    })
    expect(at.plain(place).equals(bytes[0] ?? Buffer.alloc(0))).toBe(true)
    expect(statSync(at.wal(place)).mode & 0o777).toBe(0o600)
    expect(leftovers(at)).toEqual([])
  })

  it('replaces what lies there, as the server does with the file that it asks for again', async () => {
    const { at, names, bytes } = await archived([1])
    writeFileSync(at.wal(place), 'an older one')
    await at.fetchFile(names[0] ?? '')
    expect(at.plain(place).equals(bytes[0] ?? Buffer.alloc(0))).toBe(true)
  })

  it('writes nothing on a dry run', async () => {
    const { at, names } = await archived([1])
    expect(await at.fetchFile(names[0] ?? '', { dryRun: true, ahead: null })).toMatchObject({ name: names[0] })
    expect(existsSync(at.wal(place))).toBe(false)
  })

  it.skipIf(!root)('gives it to the owner of the directory', async () => {
    const { at, names } = await archived([1])
    chownSync(at.wal(), 65534, 65534)
    expect((await at.fetchFile(names[0] ?? '')).ahead).toEqual([])
    const { uid, gid } = statSync(at.wal(place))
    expect([uid, gid]).toEqual([65534, 65534])
  })

  it('is "not in the archive" for what the archive does not have, and for that alone', async () => {
    const { at, names } = await archived([1])
    const [name = ''] = names
    for (const absent of [unknown, '00000002.history', '000000010000000000000001.partial']) {
      await expect(at.fetchFile(absent)).rejects.toMatchObject({ kind: 'not-found', code: 'wal_not_archived' })
    }
    await expect(at.fetchFile('nonsense')).rejects.toMatchObject({ kind: 'usage', code: 'wal_name_invalid' })
    await expect(at.fetchFile(name, { path: 'no/such/directory' })).rejects.toMatchObject({
      kind: 'failed',
      code: 'wal_not_written',
      hint: expect.stringContaining('disk of pg_wal'),
    })
    damage(at.stored(name))
    await expect(at.fetchFile(name)).rejects.toMatchObject({ kind: 'damage', code: 'wal_damaged' })
    expect(existsSync(at.wal(place))).toBe(false)
    // A repository that is gone is not an archive that ends here.
    renameSync(at.repository, `${at.repository}.away`)
    const gone = at.fetchFile(name)
    await expect(gone).rejects.toMatchObject({ kind: 'failed', code: 'repository_missing' })
    await expect(gone).rejects.toHaveProperty('cause.kind', 'not-found')
    expect(leftovers(at)).toEqual([])
  })
})

describe('fetching ahead', () => {
  const spooled = (names: readonly string[]) => names.flatMap(name => [`${name}.fetched`, `${name}.fetched.note`])

  it('puts the next segments aside, outside the data directory, each with a note', async () => {
    const { at, names, bytes } = await archived([1, 2, 3])
    const [first = '', ...others] = names
    expect((await at.fetchFile(first)).ahead).toEqual(others)
    expect(at.inAside()).toEqual(spooled(others))
    expect(statSync(at.aside()).mode & 0o777).toBe(0o700)
    for (const [index, name] of others.entries()) {
      const file = at.aside(`${name}.fetched`)
      expect(readFileSync(file).equals(bytes[index + 1] ?? Buffer.alloc(0))).toBe(true)
      expect(readFileSync(`${file}.note`, 'utf8').split('\n')).toEqual([
        'nexus-backup note 1',
        at.ahead.key,
        `= ${stampOf(file)} ${file}`,
        ...at.ahead.files,
        `# ${statSync(join(at.data, 'global/pg_control')).ino} global/pg_control`,
        '',
      ])
    }
    expect(leftovers(at)).toEqual([])
    // What is under the server's name is the one it asked for, though the memory was used again.
    expect(at.plain(place).equals(bytes[0] ?? Buffer.alloc(0))).toBe(true)
  })

  it('is for a recovering server only: pg_rewind asks for one, and finds pg_wal as it left it', async () => {
    const { at, names, bytes } = await archived([1, 2, 3])
    const [first = ''] = names
    // As the archiver leaves it.
    mkdirSync(at.wal('.nexus-backup'))
    for (const path of [`pg_wal/${first}`, at.wal(first)]) {
      expect((await at.fetchFile(first, { path })).ahead).toEqual([])
      expect(at.plain(first).equals(bytes[0] ?? Buffer.alloc(0))).toBe(true)
    }
    await expect(at.fetchFile(unknown, { path: at.wal(unknown) })).rejects.toMatchObject({ code: 'wal_not_archived' })
    expect(existsSync(at.wal('.nexus-backup'))).toBe(true)
    expect(existsSync(at.aside())).toBe(false)
    // Started elsewhere, the shell would look for another spool.
    expect((await at.fetchFile(first, { cwd: '/', path: at.wal(place) })).ahead).toEqual([])
  })

  it('finds the source by the path too, where it is not run in the data directory', async () => {
    const { at, names, bytes } = await archived([1])
    const [first = ''] = names
    for (const cwd of ['/', at.directory]) {
      rmSync(at.wal(first), { force: true })
      expect(await at.fetchFile(first, { cwd, path: at.wal(first) })).toMatchObject({ source: 'main' })
      expect(at.plain(first).equals(bytes[0] ?? Buffer.alloc(0))).toBe(true)
    }
    // The data directory that the file goes to counts, not the one that it is called in.
    const other = await walCalls()
    writeFileSync(join(other.data, 'global/pg_control'), controlBytes('42'))
    expect(await at.fetchFile(first, { cwd: other.data, path: at.wal(first) })).toMatchObject({ source: 'main' })
    expect(await at.archiveFile(first, { cwd: '/', path: at.wal(first) })).toMatchObject({ result: 'identical' })
  })

  it('uses no directory that others could write to, and none that is somebody else’s', async () => {
    const { at, names } = await archived([1, 2])
    const [first = ''] = names
    const refused = async () => expect((await at.fetchFile(first)).ahead).toEqual([])
    mkdirSync(join(at.directory, 'theirs'), { mode: 0o700 })
    symlinkSync(join(at.directory, 'theirs'), at.aside())
    await refused()
    expect(readdirSync(join(at.directory, 'theirs'))).toEqual([])
    rmSync(at.aside())
    mkdirSync(at.aside(), { mode: 0o755 })
    chmodSync(at.aside(), 0o755)
    await refused()
    rmdirSync(at.aside())
    chmodSync(at.temporary, 0o777)
    await refused()
    chmodSync(at.temporary, 0o1777)
    expect((await at.fetchFile(first)).ahead).toHaveLength(1)
  })

  it('removes what a recovery left that was given up a day ago, and nothing younger', async () => {
    const { at, names } = await archived([1, 2])
    const [old, young] = ['nexus-backup-wal-old', 'nexus-backup-wal-young'].map(name => join(at.temporary, name))
    for (const path of [old, young]) mkdirSync(path ?? '', { mode: 0o700 })
    utimesSync(old ?? '', new Date(now.getTime() - 90_000_000), new Date(now.getTime() - 90_000_000))
    utimesSync(young ?? '', now, now)
    await at.fetchFile(names[0] ?? '')
    expect([existsSync(old ?? ''), existsSync(young ?? '')]).toEqual([false, true])
  })

  it('ends at the first that is missing or damaged, which is told when it is asked for', async () => {
    const { at, names } = await archived([1, 2, 3, 5])
    const [first = '', second = '', third = ''] = names
    damage(at.stored(third))
    expect((await at.fetchFile(first)).ahead).toEqual([second])
    await expect(at.fetchFile(third)).rejects.toMatchObject({ kind: 'damage' })
    expect((await at.fetchFile(second)).ahead).toEqual([])
  })

  it('takes no more than 16', async () => {
    const { at, names } = await archived(Array.from({ length: 20 }, (_, index) => index + 1))
    expect((await at.fetchFile(names[0] ?? '')).ahead).toEqual(names.slice(1, 17))
  })

  it('clears what is of no use any more: with the next fetch, and at the end of the log', async () => {
    const { at, names } = await archived([1, 2, 3])
    const [first = '', second = '', third = ''] = names
    await at.fetchFile(first)
    await at.fetchFile(second)
    expect(at.inAside()).toEqual(spooled([third]))
    const history = { path: 'pg_wal/RECOVERYHISTORY' }
    await expect(at.fetchFile('00000002.history', history)).rejects.toMatchObject({ code: 'wal_not_archived' })
    expect(existsSync(at.aside())).toBe(false)
    // Notes of the archiver's are none of its business.
    mkdirSync(at.wal('.nexus-backup'))
    writeFileSync(at.wal('.nexus-backup', `${first}.stored`), '')
    await at.fetchFile(first)
    await expect(at.fetchFile(unknown)).rejects.toMatchObject({ code: 'wal_not_archived' })
    expect([at.inSpool(), existsSync(at.aside())]).toEqual([[`${first}.stored`], false])
  })

  it('does not look beyond a history, after a signal, nor where no data directory is', async () => {
    const { at, names } = await archived([1, 2])
    const history = '00000001.history'
    writeFileSync(at.wal('00000002.history'), '1\t0/300000\tno recovery target specified\n')
    await at.archiveFile('00000002.history', { ahead: null })
    expect(await at.fetchFile('00000002.history')).toMatchObject({ ahead: [] })
    await expect(at.fetchFile(history)).rejects.toMatchObject({ code: 'wal_not_archived' })
    const stopped = { ...at.context, signal: AbortSignal.abort() }
    expect((await at.fetchFile(names[0] ?? '', {}, stopped)).ahead).toEqual([])
    rmSync(join(at.data, 'global/pg_control'))
    expect(await at.fetchFile(names[0] ?? '')).toMatchObject({ source: 'main', ahead: [] })
  })

  it('puts nothing aside where no spool can be made', async () => {
    const { at, names } = await archived([1, 2])
    writeFileSync(at.aside(), 'a file')
    expect((await at.fetchFile(names[0] ?? '')).ahead).toEqual([])
    expect(readFileSync(at.aside(), 'utf8')).toBe('a file')
  })

  it('gives another system nothing: the source has no log of it', async () => {
    const { at, names } = await archived([1])
    writeFileSync(join(at.data, 'global/pg_control'), controlBytes('42'))
    const [name = ''] = names
    await expect(at.fetchFile(name)).rejects.toMatchObject({ kind: 'failed', code: 'wal_source_unknown' })
    await expect(at.fetchFile(name, { source: 'main' })).rejects.toMatchObject({ code: 'wal_not_archived' })
    expect(existsSync(at.wal(place))).toBe(false)
  })
})
