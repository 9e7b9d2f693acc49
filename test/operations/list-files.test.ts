import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { fileHistory } from '../../src/operations/list/file-history.js'
import { listFiles } from '../../src/operations/list/list-files.js'
import { type Directories, directories } from './directories.js'

const listing = (at: Directories, backup: string, pattern?: string) =>
  listFiles(at.context, { repositories: [at.source.repository], backup, pattern })
const history = (at: Directories, pattern: string, source: string | undefined = 'up') =>
  fileHistory(at.context, { repositories: [at.source.repository], source, pattern })

describe('the files of a backup', () => {
  it('are listed as they were, or those that match', async () => {
    const at = directories()
    mkdirSync(join(at.uploads, 'one'))
    const file = join(at.uploads, 'one/report.pdf')
    writeFileSync(file, 'twelve bytes')
    chmodSync(file, 0o640)
    utimesSync(file, 1.4e9, 1.4e9)
    symlinkSync('one', join(at.uploads, 'latest'))
    const { id } = await at.backUp()
    const all = await listing(at, 'up')
    expect(all).toMatchObject({ id, source: 'up', counts: { entries: 5, files: 1, bytes: 12 } })
    const files = [...all.files()]
    expect(files.map(({ path }) => path).sort()).toEqual(
      [at.logs, at.uploads, join(at.uploads, 'latest'), join(at.uploads, 'one'), file].sort(),
    )
    expect(files.find(({ path }) => path === file)).toMatchObject({
      type: 'file',
      mode: '0640',
      size: 12,
      modified: '2014-05-13T16:53:20.000Z',
    })
    expect(files.find(({ type }) => type === 'symlink')).toMatchObject({ link: 'one' })
    const part = await listing(at, id.slice(0, 15), 'one/*.pdf')
    expect(part.counts).toEqual({ entries: 3, files: 1, bytes: 12 })
    await expect(listing(at, id, 'repotr.pdf')).rejects.toMatchObject({
      kind: 'not-found',
      hint: expect.stringContaining(file),
    })
  })
})

describe('the backups that hold a file', () => {
  /** Four backups: of a file made, left alone, grown, gone; and of one that is always the same. */
  async function lived() {
    const at = directories()
    const [kept, changed] = [join(at.uploads, 'kept'), join(at.logs, 'changed')]
    for (const path of [kept, changed]) writeFileSync(path, 'then')
    const ids = [(await at.backUp()).id, (await at.backUp({ type: 'incr' })).id]
    appendFileSync(changed, ' and now')
    ids.push((await at.backUp({ type: 'incr' })).id)
    rmSync(changed)
    ids.push((await at.backUp({ type: 'full' })).id)
    return { at, kept, changed, ids }
  }

  it('are told newest version first, with what did not change as one', async () => {
    const { at, kept, changed, ids } = await lived()
    const [a, b, c, d] = ids
    const { versions, problems } = await history(at, '*a*e*')
    expect(problems).toEqual([])
    expect(versions.map(({ path, first, last, backups, size }) => [path, first, last, backups, size])).toEqual([
      [changed, c, c, 1, 12],
      [changed, a, b, 2, 4],
    ])
    const every = await fileHistory(at.context, {
      repositories: [at.source.repository],
      source: undefined,
      pattern: 'kept',
    })
    expect(every.versions).toMatchObject([{ path: kept, first: a, last: d, backups: 4 }])
  })

  it('are told apart from nothing at all, and from a list that cannot be read', async () => {
    const { at, changed, ids } = await lived()
    await expect(history(at, 'changde')).rejects.toMatchObject({ kind: 'not-found', code: 'nothing_included' })
    await expect(history(at, 'ketp')).rejects.toMatchObject({ hint: expect.stringContaining('/kept') })
    await expect(history(at, 'kept', 'other')).rejects.toMatchObject({ code: 'source_not_found' })
    const [, , harmed = ''] = ids
    const directory = join(at.source.repository.path, 'up', harmed)
    const [tree = ''] = readdirSync(directory).filter(name => name.startsWith('tree'))
    appendFileSync(join(directory, tree), 'x')
    const { versions, problems } = await history(at, 'changed')
    expect(versions).toMatchObject([{ path: changed, backups: 2 }])
    expect(problems).toMatchObject([{ id: harmed, status: 'damaged' }])
  })
})
