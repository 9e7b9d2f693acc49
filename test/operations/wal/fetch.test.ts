import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { stampOf } from '../../../src/operations/wal/note.js'
import { testContext } from '../../helpers/context.js'
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

  it('puts the next segments aside, each with a note', async () => {
    const { at, names, bytes } = await archived([1, 2, 3])
    const [first = '', ...others] = names
    expect((await at.fetchFile(first)).ahead).toEqual(others)
    expect(at.inSpool()).toEqual(spooled(others))
    for (const [index, name] of others.entries()) {
      expect(at.plain(join('.nexus-backup', `${name}.fetched`)).equals(bytes[index + 1] ?? Buffer.alloc(0))).toBe(true)
      const file = at.wal('.nexus-backup', `${name}.fetched`)
      expect(readFileSync(`${file}.note`, 'utf8').split('\n')).toEqual([
        'nexus-backup note 1',
        at.ahead.key,
        `= ${stampOf(file)} ${file}`,
        ...at.ahead.files,
        `# ${statSync(join(at.data, 'global/pg_control')).ino} global/pg_control`,
        '',
      ])
    }
    // What is under the server's name is the one it asked for, though the memory was used again.
    expect(at.plain(place).equals(bytes[0] ?? Buffer.alloc(0))).toBe(true)
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
    expect(at.inSpool()).toEqual(spooled([third]))
    await expect(at.fetchFile('00000002.history')).rejects.toMatchObject({ code: 'wal_not_archived' })
    expect(leftovers(at)).toEqual([])
    // Notes of the archiver's are none of its business.
    mkdirSync(at.wal('.nexus-backup'))
    writeFileSync(at.wal('.nexus-backup', `${first}.stored`), '')
    await at.fetchFile(first)
    await expect(at.fetchFile(unknown)).rejects.toMatchObject({ code: 'wal_not_archived' })
    expect(at.inSpool()).toEqual([`${first}.stored`])
  })

  it('does not look beyond a history, after a signal, nor where no data directory is', async () => {
    const { at, names } = await archived([1, 2])
    const history = '00000001.history'
    writeFileSync(at.wal('00000002.history'), '1\t0/300000\tno recovery target specified\n')
    await at.archiveFile('00000002.history', { ahead: null })
    expect(await at.fetchFile('00000002.history')).toMatchObject({ ahead: [] })
    await expect(at.fetchFile(history)).rejects.toMatchObject({ code: 'wal_not_archived' })
    const stopped = testContext({ now: () => now, signal: AbortSignal.abort() })
    expect((await at.fetchFile(names[0] ?? '', {}, stopped)).ahead).toEqual([])
    rmSync(join(at.data, 'global/pg_control'))
    expect(await at.fetchFile(names[0] ?? '')).toMatchObject({ source: 'main', ahead: [] })
  })

  it('puts nothing aside where no spool can be made', async () => {
    const { at, names } = await archived([1, 2])
    writeFileSync(at.wal('.nexus-backup'), 'a file')
    expect((await at.fetchFile(names[0] ?? '')).ahead).toEqual([])
    expect(readFileSync(at.wal('.nexus-backup'), 'utf8')).toBe('a file')
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
