import { execFileSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { restore } from '../../../src/operations/restore.js'
import { finishInterruptedTrees } from '../../../src/operations/trees/interrupted-trees.js'
import { KeptEntries } from '../../../src/operations/trees/kept-entries.js'
import { createTreeRecord } from '../../../src/operations/trees/tree-record.js'
import { rollBackTrees } from '../../../src/operations/trees/tree-rollback.js'
import type { Manifest } from '../../../src/repository/manifest.js'
import { renameBeneath } from '../../../src/system/rename-beneath.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { noise } from '../../sources/files/trees.js'
import { type Directories, directories } from '../directories.js'

function inPlace({ context, journal, restoring, source }: Directories) {
  return restore(context, journal, restoring({ kind: 'in-place', source }))
}

function written(root: string, names: string[], content: string): void {
  for (const name of names) {
    mkdirSync(join(root, name, '..'), { recursive: true })
    writeFileSync(join(root, name), content)
  }
}

describe('what a backup left out', () => {
  it('stays in place after a restore and after it is rolled back, as it is then', async () => {
    const place = directories({ exclude: ['cache/', '*.tmp'], include: ['keep.tmp'] })
    const { uploads } = place
    const odd = Buffer.concat([Buffer.from(`${uploads}/sub/`), Buffer.from([0xff])])
    written(uploads, ['x', 'cache/a', 'sub/b.tmp', 'keep.tmp'], 'then')
    writeFileSync(odd, 'named in no language')
    const server = createServer().listen(join(uploads, 'socket'))
    onTestFinished(() => void server.close())
    execFileSync('mkfifo', [join(uploads, 'sub/pipe')])
    expect((await place.backUp()).incomplete).toBe(false)
    written(uploads, ['x', 'cache/a', 'sub/b.tmp', 'keep.tmp', 'later', 'new/cache/z'], 'now')
    await inPlace(place)
    const content = (name: string) => readFileSync(join(uploads, name), 'utf8')
    const stays = () => {
      expect(['cache/a', 'sub/b.tmp'].map(content)).toEqual(['now', 'now'])
      expect(readFileSync(odd, 'utf8')).toBe('named in no language')
      expect(lstatSync(join(uploads, 'socket')).isSocket()).toBe(true)
      expect(lstatSync(join(uploads, 'sub/pipe')).isFIFO()).toBe(true)
    }
    stays()
    expect(['x', 'keep.tmp'].map(content)).toEqual(['then', 'then'])
    expect([existsSync(join(uploads, 'later')), existsSync(join(uploads, 'new'))]).toEqual([false, false])
    const back = () => rollBackTrees(place.context, { source: place.source, dryRun: false }, place.source.paths)
    await back()
    stays()
    expect(['x', 'keep.tmp', 'later', 'new/cache/z'].map(content)).toEqual(['now', 'now', 'now', 'now'])
    await back()
    stays()
    expect(content('x')).toBe('then')
  })

  it('is what earlier backups held nothing of: pipes and names that are not UTF-8', async () => {
    const place = directories()
    const manifest = { id: 'x', facts: { exclude: [], include: [] } } as unknown as Manifest
    const root = { path: place.uploads, target: place.uploads, previous: '', staged: place.logs }
    writeFileSync(Buffer.from(`${place.uploads}/\xff`, 'latin1'), '')
    execFileSync('mkfifo', [join(place.uploads, 'pipe')])
    writeFileSync(join(place.uploads, 'new'), '')
    const names = (facts: object) => {
      const kept = new KeptEntries(place.context, place.source, { ...manifest, facts: { ...manifest.facts, ...facts } })
      return kept.in(root).map(({ name }) => name)
    }
    expect(names({}).sort()).toEqual(['pipe', '\xff'])
    expect(names({ keeps: ['all-names'] })).toEqual([])
  })

  it('stays when it had vanished while the backup was made', async () => {
    const place = directories()
    // Large enough not to be held by the buffers on the way.
    writeFileSync(join(place.uploads, 'a-large'), noise(24 * 1024 * 1024, 1))
    written(place.uploads, ['z'], 'then')
    const { progress } = place.context
    place.context.progress = () => rmSync(join(place.uploads, 'z'), { force: true })
    expect((await place.backUp()).warnings).toEqual([expect.stringContaining('z vanished')])
    place.context.progress = progress
    written(place.uploads, ['z'], 'again')
    await inPlace(place)
    expect(readFileSync(join(place.uploads, 'z'), 'utf8')).toBe('again')
  })

  it('goes back by the next run when a restore is killed before that', async () => {
    const room = temporaryDirectory()
    const [target, previous, staged] = ['up', 'up.before', '.up.staged'].map(name => join(room, name)) as [
      string,
      string,
      string,
    ]
    written(previous, ['sub/kept', 'sub/old'], 'live')
    written(target, ['sub/restored'], 'restored')
    const moves = [{ staged, target, previous, replaces: true }]
    const kept = [{ target, previous, name: 'sub/kept' }]
    const dead = { pid: 1 << 30, started: 'never' }
    const record = { format: 1, kind: 'trees', ...dead, home: target, moves, kept } as const
    createTreeRecord({ ...record, disposable: true, scratch: [], service: null, phase: 'forward' })
    const warn = () => {}
    const context = { ...directories().context, warn }
    expect(await finishInterruptedTrees(context, { name: 'up', paths: [target], service: null })).toBe('finished')
    expect(readdirSync(join(target, 'sub')).sort()).toEqual(['kept', 'restored'])
    createTreeRecord({ ...record, disposable: true, scratch: [], service: null, phase: 'back' })
    await finishInterruptedTrees(context, { name: 'up', paths: [target], service: null })
    expect(readdirSync(join(target, 'sub')).sort()).toEqual(['kept', 'old'])
  })
})

describe('moving an entry between trees', () => {
  it('follows no link, leaves nothing, and replaces nothing', () => {
    const room = temporaryDirectory()
    const [from, to, secret] = ['from', 'to', 'secret'].map(name => join(room, name)) as [string, string, string]
    written(from, ['a/b', 'c/d'], 'mine')
    written(to, ['a/b'], 'theirs')
    written(secret, ['x', 'd'], 'secret')
    mkdirSync(join(to, 'c'))
    expect(renameBeneath(from, to, 'a/b')).toBe(false)
    symlinkSync(secret, join(from, 'link'))
    mkdirSync(join(to, 'link'))
    expect(renameBeneath(from, to, 'link/x')).toBe(false)
    renameSync(join(to, 'c'), join(to, 'moved'))
    symlinkSync(secret, join(to, 'c'))
    expect(renameBeneath(from, to, 'c/d')).toBe(false)
    for (const name of ['../secret/x', 'a/../c/d', '', '.', 'none', '/a/b'])
      expect(renameBeneath(from, to, name)).toBe(false)
    rmSync(join(to, 'c'))
    renameSync(join(to, 'moved'), join(to, 'c'))
    expect(renameBeneath(from, to, 'c/d')).toBe(true)
    expect(readFileSync(join(to, 'c/d'), 'utf8')).toBe('mine')
    expect(readdirSync(secret)).toEqual(['d', 'x'])
  })
})
