import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { planRestore, restore } from '../../../src/operations/restore.js'
import { planRollback, rollback } from '../../../src/operations/rollback.js'
import { canMount, smallDisk } from '../../end-to-end/helpers/small-disk.js'
import { differences, isRoot, portrait } from '../../sources/files/trees.js'
import { type Directories, directories } from '../directories.js'

function inPlace(at: Directories, wishes: Partial<Directories['source']> = {}) {
  const source = { ...at.source, ...wishes }
  return at.restoring({ kind: 'in-place', source }, { source })
}

/** Two roots with a file each, backed up, and changed since. */
async function changed(): Promise<Directories> {
  const at = directories()
  writeFileSync(join(at.uploads, 'a'), 'then')
  writeFileSync(join(at.logs, 'app.log'), 'then')
  await at.backUp()
  for (const path of [join(at.uploads, 'a'), join(at.logs, 'app.log'), join(at.uploads, 'new')])
    writeFileSync(path, 'now')
  return at
}

const state = ({ uploads, logs }: Directories) => [
  readdirSync(uploads).sort(),
  readFileSync(join(uploads, 'a'), 'utf8'),
  readFileSync(join(logs, 'app.log'), 'utf8'),
]
const [then, now] = [
  [['a'], 'then', 'then'],
  [['a', 'new'], 'now', 'now'],
]
const leftovers = ({ uploads }: Directories) => readdirSync(join(uploads, '..')).filter(name => name.startsWith('.'))

describe('directories in place', () => {
  it('are all swapped in, and a rollback brings back what stood there', async () => {
    const at = await changed()
    const plan = await planRestore(at.context, inPlace(at))
    expect(plan).toMatchObject({ target: `${at.uploads}, ${at.logs}`, in_place: true, replaces: true, service: null })
    expect(state(at)).toEqual(now)
    const result = await restore(at.context, at.journal, { ...inPlace(at), previous: plan.previous })
    expect(result).toMatchObject({
      id: plan.id,
      target: plan.target,
      previous: plan.previous,
      undo: 'nexus-backup restore up --rollback --confirm up',
      checks: [{ name: 'restored', status: 'ok' }],
    })
    expect(state(at)).toEqual(then)
    expect(leftovers(at)).toEqual([])
    const undo = { source: at.source, dryRun: false }
    expect(await planRollback(at.context, undo)).toMatchObject({ target: plan.target, replaces: true })
    await rollback(at.context, at.journal, undo)
    expect(state(at)).toEqual(now)
  })

  it('make what is gone, with nothing to undo', async () => {
    const at = await changed()
    rmSync(join(at.uploads, '..'), { recursive: true })
    mkdirSync(join(at.uploads, '..'))
    expect(await planRestore(at.context, inPlace(at))).toMatchObject({ replaces: false, previous: null })
    expect(await restore(at.context, at.journal, inPlace(at))).toMatchObject({ previous: null, undo: null })
    expect(state(at)).toEqual(then)
  })

  it('leave a root as it is that the backup does not hold, and say so', async () => {
    const at = await changed()
    const later = join(at.room, 'live/later')
    mkdirSync(later)
    writeFileSync(join(later, 'x'), 'x')
    const { target } = await restore(at.context, at.journal, inPlace(at, { paths: [at.logs, later] }))
    expect([target, readFileSync(join(later, 'x'), 'utf8')]).toEqual([at.logs, 'x'])
    expect(state(at)).toEqual([['a', 'new'], 'now', 'then'])
    expect(at.warnings.at(-1)).toContain(`does not hold ${later}, which stays as it is`)
    await expect(planRestore(at.context, inPlace(at, { paths: [later] }))).rejects.toMatchObject({
      kind: 'not-found',
      code: 'roots_not_in_backup',
      hint: expect.stringContaining('--to PATH'),
    })
  })

  it('follow a root that is a symbolic link by now, and leave the link', async () => {
    const at = await changed()
    const moved = join(at.room, 'moved')
    mkdirSync(moved)
    rmSync(at.uploads, { recursive: true })
    symlinkSync(moved, at.uploads)
    const { target } = await restore(at.context, at.journal, inPlace(at))
    expect(target).toBe(`${moved}, ${at.logs}`)
    expect(readFileSync(join(moved, 'a'), 'utf8')).toBe('then')
  })

  it('are refused for a source of another kind', async () => {
    const at = await changed()
    const source = { ...at.source, kind: 'sqlite' as const, path: '/srv/app.db' }
    const request = at.restoring({ kind: 'in-place', source })
    await expect(planRestore(at.context, request)).rejects.toMatchObject({ kind: 'refused', code: 'kind_differs' })
  })
})

describe('a single file that is a root', () => {
  /** A directory and a file; with a small disk, each on a file system of its own. */
  async function withFile(apart: boolean): Promise<Directories & { file: string }> {
    const at = directories()
    const disk = join(at.room, 'disk')
    if (apart) smallDisk(disk, 4 << 20)
    else mkdirSync(disk)
    const file = join(disk, 'settings.conf')
    writeFileSync(file, 'then')
    chmodSync(file, 0o640)
    if (isRoot) chownSync(file, 1000, 2000)
    utimesSync(file, 1.4e9, 1.4e9)
    at.source.paths = [at.uploads, file]
    return { ...at, file }
  }

  async function expectToComeBack(apart: boolean): Promise<void> {
    const at = await withFile(apart)
    await at.backUp()
    const before = portrait(at.file)
    writeFileSync(at.file, 'now')
    chmodSync(at.file, 0o600)
    const { target, previous } = await restore(at.context, at.journal, inPlace(at))
    expect(target).toBe(`${at.uploads}, ${at.file}`)
    expect(differences(portrait(at.file), before)).toEqual([])
    expect(readFileSync(previous?.split(', ')[1] ?? '', 'utf8')).toBe('now')
    expect(readdirSync(join(at.file, '..')).filter(name => name.startsWith('.'))).toEqual([])
    expect(leftovers(at)).toEqual([])
    if (isRoot) expect(statSync(at.file)).toMatchObject({ uid: 1000, gid: 2000 })
  }

  it('comes back with its mode, owner and time', () => expectToComeBack(false))
  it.skipIf(!canMount)('comes back so on a disk of its own', () => expectToComeBack(true))

  it('comes back where it is gone', async () => {
    const at = await withFile(false)
    await at.backUp()
    rmSync(at.file)
    expect((await restore(at.context, at.journal, inPlace(at))).previous?.includes(at.file)).toBe(false)
    expect(existsSync(at.file)).toBe(true)
  })
})
