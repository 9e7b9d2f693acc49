import { appendFileSync, chmodSync, mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { diff } from '../../../src/operations/diff/diff.js'
import { noise } from '../../sources/files/trees.js'
import { type Directories, directories } from '../directories.js'

const compared = (at: Directories, before: string, after: string, pattern?: string) =>
  diff(at.context, { repositories: [at.source.repository], before, after, pattern })

/** Files before, and a change of every kind. */
async function changed(type: 'incr' | 'full') {
  const at = directories()
  mkdirSync(join(at.uploads, 'd'))
  for (const name of ['same', 'gone', 'd/mode', 'grown']) writeFileSync(join(at.uploads, name), noise(300_000, 1))
  writeFileSync(join(at.uploads, 'rewritten'), noise(300_000, 1))
  utimesSync(join(at.uploads, 'rewritten'), 1.4e9, 1.4e9)
  utimesSync(join(at.uploads, 'd'), 1.4e9, 1.4e9)
  const { id: first } = await at.backUp()
  rmSync(join(at.uploads, 'gone'))
  chmodSync(join(at.uploads, 'd/mode'), 0o600)
  appendFileSync(join(at.uploads, 'grown'), noise(10, 2))
  writeFileSync(join(at.uploads, 'new'), 'new')
  // Of the same size and time: only its blocks tell.
  writeFileSync(join(at.uploads, 'rewritten'), Buffer.concat([noise(200_000, 1), noise(100_000, 3)]))
  utimesSync(join(at.uploads, 'rewritten'), 1.4e9, 1.4e9)
  const { id: second } = await at.backUp({ type })
  const named = ({ uploads }: Directories, name: string) => join(uploads, name)
  return { at, first, second, named: (name: string) => named(at, name) }
}

describe('what differs between two backups', () => {
  it('of one chain is told block by block', async () => {
    const { at, first, second, named } = await changed('incr')
    const { result, entries } = await compared(at, first, second)
    expect(result).toMatchObject({
      before: { id: first },
      after: { id: second },
      identical: false,
      compared: 'digests',
      // The root's time is another; so is the time of no other directory.
      counts: { added: 1, removed: 1, changed: 4, unchanged: 3 },
      bytes_added: 3,
      bytes_removed: 300_000,
    })
    const of = (name: string) => entries.find(({ path }) => path === named(name))
    expect(of('new')).toMatchObject({ change: 'added', size_before: null, size_after: 3, facts: [] })
    expect(of('gone')).toMatchObject({ change: 'removed', size_before: 300_000, size_after: null })
    expect(of('d/mode')).toMatchObject({ change: 'changed', facts: ['mode'], bytes_changed: 0 })
    // Its last block, and the second and third of the one that was rewritten.
    expect(of('grown')).toMatchObject({ facts: ['time', 'content'], bytes_changed: 300_010 - 2 * 131_072 })
    expect(of('rewritten')).toMatchObject({ facts: ['content'], bytes_changed: 300_000 - 131_072 })
    expect(result.blocks_changed).toBe(3)
    const back = await compared(at, second, first, 'new')
    expect(back.result.counts).toEqual({ removed: 1, added: 0, changed: 0, unchanged: 0 })
  })

  it('of two chains is told by size and time, which is said', async () => {
    const { at, first, second, named } = await changed('full')
    const { result, entries } = await compared(at, first, second)
    expect(result).toMatchObject({ compared: 'times', blocks_changed: null, bytes_changed: null })
    expect(entries.find(({ path }) => path === named('grown'))?.facts).toEqual(['time', 'content'])
    expect(entries.find(({ path }) => path === named('rewritten'))).toBeUndefined()
  })

  it('is told of entries that are no files, and of paths whose type changed', async () => {
    const at = directories()
    const place = (name: string) => join(at.uploads, name)
    for (const name of ['gone', 'becomes-file']) mkdirSync(place(name))
    for (const name of ['gone/inner', 'becomes-directory']) writeFileSync(place(name), 'then')
    symlinkSync('gone', place('link-gone'))
    symlinkSync('gone', place('link'))
    const { id: first } = await at.backUp()
    for (const name of ['gone', 'becomes-file', 'becomes-directory', 'link', 'link-gone'])
      rmSync(place(name), { recursive: true })
    mkdirSync(place('becomes-directory'))
    for (const name of ['becomes-directory/inner', 'becomes-file']) writeFileSync(place(name), 'now')
    symlinkSync('elsewhere', place('link'))
    const { id: second } = await at.backUp()
    const { entries, result } = await compared(at, first, second)
    const changes = entries.map(({ change, path, facts }) => [change, path.slice(at.uploads.length), facts])
    expect(changes.filter(([change]) => change !== 'changed')).toEqual([
      ['added', '/becomes-directory/inner', []],
      ['removed', '/gone', []],
      ['removed', '/gone/inner', []],
      ['removed', '/link-gone', []],
    ])
    for (const [path, fact] of [
      ['/becomes-file', 'type'],
      ['/becomes-directory', 'type'],
      ['/link', 'link'],
    ])
      expect(changes.find(([, one]) => one === path)?.[2]).toContain(fact)
    expect(result.counts).toMatchObject({ added: 1, removed: 3, changed: 4 })
  })

  it('is nothing of a backup and itself', async () => {
    const { at, first } = await changed('incr')
    const { result, entries } = await compared(at, first, first)
    expect([result.identical, entries]).toEqual([true, []])
    await expect(compared(at, first, first, 'nothing')).rejects.toMatchObject({ kind: 'not-found' })
  })
})
