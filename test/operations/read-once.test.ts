import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { list } from '../../src/operations/list.js'
import { prune } from '../../src/operations/prune.js'
import { planRestore, restore } from '../../src/operations/restore.js'
import { verify } from '../../src/operations/verify.js'
import { LocalStorage } from '../../src/repository/storage/local.js'
import { directories } from './directories.js'

const walks = vi.hoisted(() => ({ count: 0 }))
vi.mock('../../src/sources/files/walk.js', async original => {
  const actual = await original<typeof import('../../src/sources/files/walk.js')>()
  const walk: typeof actual.walk = (...wanted) => {
    walks.count += 1
    return actual.walk(...wanted)
  }
  return { ...actual, walk }
})

/** What is read of a repository from now on, by name. */
function reads(): () => Record<string, number> {
  const names: string[] = []
  const { readSmall, openRead } = LocalStorage.prototype
  vi.spyOn(LocalStorage.prototype, 'readSmall').mockImplementation(function (this: LocalStorage, name, limit) {
    names.push(name)
    return readSmall.call(this, name, limit)
  })
  vi.spyOn(LocalStorage.prototype, 'openRead').mockImplementation(function (this: LocalStorage, name) {
    // Of an index the size is asked for before anything else.
    if (!name.endsWith('.idx')) names.push(name)
    return openRead.call(this, name)
  })
  return () => {
    const counts: Record<string, number> = {}
    for (const name of names) counts[name] = (counts[name] ?? 0) + 1
    return counts
  }
}

const repeated = (counts: Record<string, number>, pattern: RegExp) =>
  Object.entries(counts).filter(([name, count]) => pattern.test(name) && count > 1)

const HISTORY = /manifest\.json$|\/proofs\//
const ALL = /^up\//

/** A full and some increments, the first of them verified. */
async function withHistory(backups: number) {
  const at = directories()
  mkdirSync(join(at.uploads, 'a'))
  for (let file = 0; file < 20; file += 1) writeFileSync(join(at.uploads, 'a', `${file}`), `file ${file}`)
  await at.backUp()
  const { repositories } = at.restoring({ kind: 'path', path: '/', force: false })
  await verify(at.context, at.journal, { repositories, sources: [], targets: [], drill: false })
  for (let number = 1; number < backups; number += 1) {
    appendFileSync(join(at.uploads, 'a', '1'), 'more')
    await at.backUp({ type: 'incr' })
  }
  return { ...at, repositories }
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('a run', () => {
  it('of restore reads each manifest, proof, list and part once', async () => {
    const at = await withHistory(4)
    const counts = reads()
    const request = at.restoring({ kind: 'path', path: join(at.room, 'restored'), force: false })
    const plan = await planRestore(at.context, request)
    await restore(at.context, at.journal, { ...request, plan })
    expect(Object.keys(counts()).filter(name => name.endsWith('manifest.json'))).toHaveLength(4)
    expect(Object.keys(counts()).filter(name => name.endsWith('tree.jsonl.zst'))).toHaveLength(4)
    expect(repeated(counts(), ALL)).toEqual([])
  })

  it('of verify reads each manifest, proof and list once', async () => {
    const at = await withHistory(3)
    const counts = reads()
    await verify(at.context, at.journal, {
      repositories: at.repositories,
      sources: [],
      targets: [],
      drill: false,
    })
    expect(repeated(counts(), HISTORY)).toEqual([])
    expect(repeated(counts(), /zst$/)).toEqual([])
  })

  it('of list and of prune reads each manifest and proof once', async () => {
    const at = await withHistory(3)
    const [repository] = at.repositories
    if (repository === undefined) throw new Error('there is a repository')
    const ofList = reads()
    await list(at.context, { repositories: at.repositories, source: undefined, all: true })
    expect(repeated(ofList(), ALL)).toEqual([])
    vi.restoreAllMocks()
    await at.backUp({ type: 'full' })
    const ofPrune = reads()
    const pruned = await prune(at.context, at.journal, {
      sources: [{ name: 'up', repository, keep: { last: 1 } }],
      dryRun: false,
    })
    // The first is the only one that is proven.
    expect(pruned.delete).toHaveLength(2)
    expect(repeated(ofPrune(), HISTORY)).toEqual([])
  })

  it('of create walks the source once, and reads each manifest and list once', async () => {
    const at = await withHistory(2)
    appendFileSync(join(at.uploads, 'a', '1'), 'more')
    walks.count = 0
    const counts = reads()
    await at.backUp()
    expect(walks.count).toBe(1)
    expect(repeated(counts(), HISTORY)).toEqual([])
    expect(repeated(counts(), /zst$/)).toEqual([])
  })

  it('of a preview of create walks the source once', async () => {
    const at = await withHistory(2)
    walks.count = 0
    await at.backUp({ dryRun: true })
    expect(walks.count).toBe(1)
  })
})
