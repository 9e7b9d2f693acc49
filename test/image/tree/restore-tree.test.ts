import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ChainMember } from '../../../src/image/chain.js'
import { chainTable, DamagedChain } from '../../../src/image/restore-file.js'
import { type RestoreTreeTarget, restoreTree } from '../../../src/image/tree/restore-tree.js'
import type { TreeEntry } from '../../../src/image/tree/types.js'
import { ChainVerifier } from '../../../src/image/verify-chain.js'
import { WorkerPool } from '../../../src/image/workers/pool.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { partOf, quiet } from '../parts.js'
import { archive, type Member, member } from './tar-bytes.js'
import { inPieces, plainInput, storeTreeBackup, type TreeBackup } from './tree-store.js'

let pool: WorkerPool
beforeAll(() => {
  pool = WorkerPool.start(new AbortController().signal, 2)
})
afterAll(() => pool.stop())

const isRoot = process.getuid?.() === 0
const text = (name: string, content: string): Member => ({ name, content: Buffer.from(content) })

function store(members: Member[], parent: TreeBackup | null = null, describe = (entry: TreeEntry) => entry) {
  const tar = inPieces(archive(...members.map(member)), [3000])
  return storeTreeBackup({ ...plainInput(tar, 512), describe }, parent, { pool, directory: temporaryDirectory() })
}

async function restore(chain: readonly TreeBackup[], target: Partial<RestoreTreeTarget> = {}, members?: ChainMember[]) {
  const directory = target.directory ?? temporaryDirectory()
  const newest = chain.at(-1)
  if (newest === undefined) throw new Error('no chain')
  const whole = { elsewhere: new Map<string, string>(), owner: () => null, ...target, directory }
  await restoreTree(members ?? chain.map(one => one.member), newest.tree, whole, { pool, work: quiet })
  return directory
}

describe('restoring a tree', () => {
  test('sets modes, also those that shut out their owner, and times of everything', async () => {
    const full = await store([
      { name: 'shut', type: '5', mode: 0o555, mtime: 1_600_000_001 },
      { ...text('shut/none', 'x'), mode: 0o000, mtime: 1_600_000_002 },
      { ...text('shut/setuid', 'x'), mode: 0o6755, mtime: 1_600_000_003 },
      { name: 'shut/link', type: '2', link: '/etc/passwd', mtime: 1_600_000_004 },
      { name: 'shared', type: '5', mode: 0o3777, mtime: 1_600_000_005 },
    ])
    const root = await restore([full])
    const stats = ['shut', 'shut/none', 'shut/setuid', 'shut/link', 'shared'].map(name => lstatSync(join(root, name)))
    expect(stats.map(({ mtimeMs }) => mtimeMs / 1000 - 1_600_000_000)).toEqual([1, 2, 3, 4, 5])
    const modes = stats.map(({ mode }) => mode & 0o7777)
    expect([modes[0], modes[1], modes[2], modes[4]]).toEqual([0o555, 0o000, 0o6755, 0o3777])
    chmodSync(join(root, 'shut'), 0o700)
  })

  test.skipIf(!isRoot)('gives everything the owner that the caller says, links too', async () => {
    const full = await store([
      { name: 'd', type: '5', uid: 10, gid: 11 },
      { ...text('d/f', 'x'), uid: 12, gid: 13, mode: 0o4755 },
      { name: 'd/l', type: '2', link: 'nowhere', uid: 14, gid: 15 },
      { ...text('implied/f', 'x'), uid: 16, gid: 17 },
      { ...text('left', 'x'), uid: 18, gid: 19 },
    ])
    const root = await restore([full], {
      owner: ({ path, uid, gid }) => (path === 'left' ? null : { uid: uid + 1000, gid: gid + 1000 }),
    })
    const owners = ['d', 'd/f', 'd/l', 'implied/f', 'implied', 'left'].map(name => {
      const { uid, gid } = lstatSync(join(root, name))
      return [uid, gid]
    })
    expect(owners).toEqual([
      [1010, 1011],
      [1012, 1013],
      [1014, 1015],
      [1016, 1017],
      [1016, 1017],
      [0, 0],
    ])
    expect(lstatSync(join(root, 'd/f')).mode & 0o7777).toBe(0o4755)
  })

  test('makes directories that no entry lists, open to nobody else', async () => {
    const root = await restore([await store([text('a/b/c', 'x')])])
    expect(readFileSync(join(root, 'a/b/c'), 'utf8')).toBe('x')
    expect(['a', 'a/b'].map(name => lstatSync(join(root, name)).mode & 0o777)).toEqual([0o700, 0o700])
  })

  test('makes holes of what was sparse, and writes zeros otherwise', async () => {
    const content = Buffer.alloc(4 * 1024 * 1024)
    content.write('middle', 2_000_000)
    const members = ['sparse', 'dense'].map(name => ({ name, content }))
    const full = await store(members, null, entry => ({ ...entry, sparse: entry.path === 'sparse' }))
    const root = await restore([full])
    for (const { name } of members) expect(readFileSync(join(root, name)).equals(content)).toBe(true)
    const [sparse, dense] = members.map(({ name }) => lstatSync(join(root, name)).blocks * 512)
    expect(sparse).toBeLessThan(100_000)
    expect(dense).toBeGreaterThanOrEqual(content.length)
  })

  test('puts what lies in chosen directories elsewhere, links and all', async () => {
    const full = await store([
      { name: 'pg_tblspc/16390', type: '5', mode: 0o750, mtime: 1_600_000_001 },
      text('pg_tblspc/16390/PG_15/5/1259', 'table'),
      { name: 'pg_tblspc/16390/PG_15/hard', type: '1', link: 'pg_tblspc/16390/PG_15/5/1259' },
      text('pg_tblspc/163901', 'another name that begins alike'),
      text('base/1', 'x'),
    ])
    const space = join(temporaryDirectory(), 'space')
    mkdirSync(space, { mode: 0o700 })
    const root = await restore([full], { elsewhere: new Map([['pg_tblspc/16390', space]]) })
    expect(readFileSync(join(space, 'PG_15/5/1259'), 'utf8')).toBe('table')
    expect(lstatSync(join(space, 'PG_15/hard')).nlink).toBe(2)
    expect(lstatSync(space).mode & 0o777).toBe(0o750)
    expect(lstatSync(space).mtimeMs).toBe(1_600_000_001_000)
    expect(readdirSync(join(root, 'pg_tblspc'))).toEqual(['163901'])
  })

  test('restores many small files', async () => {
    const members = Array.from({ length: 3000 }, (_, at) => text(`d${at % 7}/f${at}`, `content ${at}`))
    const root = await restore([await store(members)])
    for (const at of [0, 1, 1499, 2999]) {
      expect(readFileSync(join(root, `d${at % 7}/f${at}`), 'utf8')).toBe(`content ${at}`)
    }
    expect(readdirSync(root, { recursive: true }).length).toBe(3007)
  })

  test('writes over nothing and follows nothing that is there already', async () => {
    const outside = join(temporaryDirectory(), 'outside')
    writeFileSync(outside, 'precious')
    const full = await store([text('a', 'x'), { name: 'd', type: '5' }, { name: 'l', type: '2', link: 'x' }])
    for (const name of ['a', 'd', 'l']) {
      const directory = temporaryDirectory()
      symlinkSync(outside, join(directory, name))
      const target = { directory, elsewhere: new Map<string, string>(), owner: () => null }
      const problems = await restoreTree([full.member], full.tree, target, { pool, work: quiet })
      expect(problems.sentences()).toEqual([expect.stringContaining(`${name} is not restored: EEXIST`)])
      expect(readFileSync(outside, 'utf8')).toBe('precious')
    }
  })

  test('stops when it is interrupted', async () => {
    const full = await store([text('a', 'x')])
    const target = { directory: temporaryDirectory(), elsewhere: new Map<string, string>(), owner: () => null }
    const work = { ...quiet, signal: AbortSignal.abort() }
    await expect(restoreTree([full.member], full.tree, target, { pool, work })).rejects.toThrow(/abort/)
  })
})

describe('a damaged chain of trees', () => {
  async function chain() {
    const full = await store([text('a', 'a'.repeat(3000)), text('b', 'b'.repeat(700))])
    const incr = await store([text('b', 'b'.repeat(900)), text('c', 'a'.repeat(3000))], full, entry => {
      return entry.path === 'c' ? { ...entry, base: 0 } : entry
    })
    return { full, incr }
  }

  test('is never restored: any flipped or missing byte of frames and indexes is found and its member named', async () => {
    const { full, incr } = await chain()
    const root = await restore([full, incr])
    expect(readFileSync(join(root, 'c'), 'utf8')).toBe('a'.repeat(3000))
    for (const [one, role] of [
      [full, 'frames'],
      [full, 'index'],
      [incr, 'frames'],
      [incr, 'index'],
    ] as const) {
      const good = one[role]
      const bads = Array.from({ length: 30 }, (_, n) => {
        const bad = Buffer.from(good)
        const at = Math.floor((n * good.length) / 30)
        bad[at] = (bad[at] ?? 0) ^ 1
        return bad
      })
      for (const bad of [...bads, good.subarray(0, -1), Buffer.concat([good, Buffer.from([0])])]) {
        const part = { ...one.member[role], open: partOf(role, bad).open }
        const members = [full, incr].map(({ member: other }) =>
          other === one.member ? { ...other, [role]: part } : other,
        )
        const attempt = restore([full, incr], {}, members)
        await expect(attempt).rejects.toBeInstanceOf(DamagedChain)
        await expect(attempt).rejects.toMatchObject({ damage: [{ id: one.member.id }] })
      }
    }
  })

  test('is never restored when an older list of entries is damaged, and verify says so', async () => {
    const { full, incr } = await chain()
    const forged = Buffer.from(full.list)
    forged[20] = (forged[20] ?? 0) ^ 1
    const { loadLayout } = await import('../../../src/image/tree/load-layout.js')
    const part = { ...partOf('tree.jsonl.zst', full.list), open: partOf('x', forged).open }
    const broken = { ...full.member, layout: () => loadLayout(part, full.counts) }
    await expect(restore([full, incr], {}, [broken, incr.member])).rejects.toMatchObject({
      damage: [{ id: full.member.id, findings: [{ part: 'tree.jsonl.zst' }] }],
    })
    const path = join(temporaryDirectory(), 't')
    await expect(chainTable([broken, incr.member], path)).rejects.toMatchObject({ damage: [{ id: full.member.id }] })
    const verifier = new ChainVerifier(temporaryDirectory(), { pool, work: quiet })
    const verified = { ...broken, parent: null, children: 0, imageDigest: full.table.imageDigest() }
    expect(await verifier.check(verified)).toMatchObject([{ part: 'tree.jsonl.zst' }])
    verifier.close()
  })

  test('is never restored when files continue what their parent does not have', async () => {
    const { full, incr } = await chain()
    const lonely = await store([text('only', 'x')])
    await expect(restore([lonely, incr])).rejects.toMatchObject({
      damage: [{ id: incr.member.id, findings: [{ part: 'chain', problem: expect.stringMatching(/does not have/) }] }],
    })
    const verifier = new ChainVerifier(temporaryDirectory(), { pool, work: quiet })
    const [lone, child] = [lonely, incr].map(({ member: one, table }) => ({ ...one, imageDigest: table.imageDigest() }))
    if (lone === undefined || child === undefined) throw new Error('no members')
    expect(await verifier.check({ ...lone, parent: null, children: 1 })).toEqual([])
    const findings = await verifier.check({ ...child, parent: lone.id, children: 0 })
    expect(findings).toMatchObject([{ part: 'chain' }])
    verifier.close()
    await expect(restore([incr])).rejects.toThrow(/does not hold every block/)
    expect(full.tree.count).toBe(2)
  })
})
