import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { FilesSourceSettings } from '../../../src/config/settings.js'
import { defaultChainPolicy } from '../../../src/config/settings.js'
import { thisProcess } from '../../../src/operations/restoring-process.js'
import { previousNames } from '../../../src/operations/set-aside.js'
import { finishInterruptedTrees } from '../../../src/operations/trees/interrupted-trees.js'
import { mountPointsIn } from '../../../src/operations/trees/mount-points.js'
import { putTreesInPlace, type TreePlacement } from '../../../src/operations/trees/tree-in-place.js'
import { createTreeRecord, type TreeRecord } from '../../../src/operations/trees/tree-record.js'
import { planTreeRollback, rollBackTrees } from '../../../src/operations/trees/tree-rollback.js'
import { fakeSystemctl } from '../../end-to-end/helpers/systemctl.js'
import { testContext } from '../../helpers/context.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

const now = new Date('2025-12-01T00:00:00Z')

/** Two roots with an old content each, and the moves that would replace them. */
function place(names = ['a', 'b']) {
  const room = temporaryDirectory()
  const targets = names.map(name => join(room, name))
  for (const target of targets) write(target, 'old')
  const asides = previousNames(targets, now)
  const moves = targets.map((target, at) => ({
    target,
    staged: join(room, `.${basename(target)}.staged`),
    previous: asides[at] ?? '',
  }))
  const warnings: string[] = []
  const context = testContext({ now: () => now, warn: message => void warnings.push(message) })
  const placement: TreePlacement = {
    source: 'up',
    moves,
    disposable: true,
    scratch: [join(room, '.rest')],
    service: null,
  }
  const stage = async () => {
    for (const { staged } of moves) write(staged, 'new')
    mkdirSync(join(room, '.rest'))
  }
  return { room, targets, moves, placement, context, warnings, stage }
}

function write(directory: string, content: string): void {
  mkdirSync(directory)
  writeFileSync(join(directory, 'content'), content)
}

function content(directory: string): string | null {
  return existsSync(directory) ? readFileSync(join(directory, 'content'), 'utf8') : null
}

/** Names beside the targets that are neither they nor set aside. */
function leftovers(room: string): string[] {
  return readdirSync(room).filter(name => name.startsWith('.'))
}

function sourceOf(paths: string[]): FilesSourceSettings {
  return {
    kind: 'files',
    name: 'up',
    paths,
    exclude: [],
    include: [],
    repository: { name: 'local', path: '/nonexistent' },
    copies: [],
    checks: [],
    service: null,
    keep: {},
    chain: defaultChainPolicy,
    digestAlgorithm: 'xxh3-128',
  }
}

describe('putting directories in place', () => {
  it('swaps all of them, keeps what stood there, and leaves nothing else', async () => {
    const { room, targets, moves, placement, context, stage } = place()
    const placed = await putTreesInPlace(context, placement, stage)
    expect(targets.map(content)).toEqual(['new', 'new'])
    expect(placed).toEqual(moves.map(({ target, previous }) => ({ target, previous })))
    expect(moves.map(({ previous }) => content(previous))).toEqual(['old', 'old'])
    expect(leftovers(room)).toEqual([])
  })

  it('makes a root that is gone, and leaves one alone for which nothing is staged', async () => {
    const { targets, placement, context } = place()
    const [a = '', b = ''] = targets
    renameSync(a, `${a}.lost`)
    const placed = await putTreesInPlace(context, placement, async () => {
      write(placement.moves[0]?.staged ?? '', 'new')
    })
    expect(placed).toEqual([{ target: a, previous: null }])
    expect([content(a), content(b)]).toEqual(['new', 'old'])
  })

  it('takes a single file for a root as well', async () => {
    const { room, context, placement } = place([])
    const target = join(room, 'file')
    writeFileSync(target, 'old')
    const move = { target, staged: join(room, '.file.staged'), previous: `${target}.aside` }
    await putTreesInPlace(context, { ...placement, moves: [move] }, async () => writeFileSync(move.staged, 'new'))
    expect([readFileSync(target, 'utf8'), readFileSync(move.previous, 'utf8')]).toEqual(['new', 'old'])
  })

  it('replaces nothing when the preparation fails, and takes away what it made', async () => {
    const { room, targets, placement, context, stage } = place()
    const failing = putTreesInPlace(context, placement, async () => {
      await stage()
      throw new Error('damaged')
    })
    await expect(failing).rejects.toThrow('damaged')
    expect(targets.map(content)).toEqual(['old', 'old'])
    expect(leftovers(room)).toEqual([])
  })

  it('brings back the first when the second cannot be moved', async () => {
    const { room, targets, placement, context, stage, moves } = place()
    // A directory cannot be moved into itself.
    const impossible = moves.map((move, at) => (at === 1 ? { ...move, previous: join(move.target, 'x') } : move))
    const failing = putTreesInPlace(context, { ...placement, moves: impossible }, stage)
    await expect(failing).rejects.toMatchObject({ code: 'EINVAL' })
    expect(targets.map(content)).toEqual(['old', 'old'])
    expect(leftovers(room)).toEqual([])
  })

  it('moves nothing when what is to be kept would take a name that is there by then', async () => {
    const { room, targets, placement, context, stage, moves } = place()
    const refused = putTreesInPlace(context, placement, async () => {
      await stage()
      writeFileSync(moves[1]?.previous ?? '', 'in the way')
    })
    await expect(refused).rejects.toMatchObject({ kind: 'refused', code: 'set_aside_exists' })
    expect(targets.map(content)).toEqual(['old', 'old'])
    expect(leftovers(room)).toEqual([])
  })

  it('stops and starts the service around the renames, and starts it when they fail', async () => {
    const { room, placement, context, stage, targets } = place()
    const systemctl = fakeSystemctl(room)
    const path = process.env.PATH
    process.env.PATH = systemctl.env.PATH
    onTestFinished(() => {
      process.env.PATH = path
    })
    await putTreesInPlace(context, { ...placement, service: 'app.service' }, async () => {
      expect(systemctl.calls()).toEqual([])
      await stage()
    })
    expect(systemctl.calls()).toEqual(['stop -- app.service', 'start -- app.service'])
    expect(targets.map(content)).toEqual(['new', 'new'])
  })

  it('refuses a data directory in which a server runs, and not one whose server is dead', async () => {
    const { targets, placement, context, stage } = place()
    const [target = ''] = targets
    const server = spawn('sleep', ['60'], { cwd: target })
    onTestFinished(() => void server.kill())
    const pidFile = join(target, 'postmaster.pid')
    writeFileSync(pidFile, `${server.pid}\n${target}\n`)
    const refused = putTreesInPlace(context, placement, stage)
    await expect(refused).rejects.toMatchObject({ kind: 'refused', code: 'server_running' })
    expect(content(target)).toBe('old')
    // A number that was given to another process since, which works elsewhere.
    writeFileSync(pidFile, `${process.pid}\n${target}\n`)
    await putTreesInPlace(context, placement, stage)
    expect(content(target)).toBe('new')
  })

  it('refuses targets within one another', async () => {
    const { room, placement, context, stage } = place(['a'])
    const inner = join(room, 'a', 'inner')
    mkdirSync(inner)
    const moves = [...placement.moves, { target: inner, staged: `${inner}.staged`, previous: `${inner}.aside` }]
    await expect(putTreesInPlace(context, { ...placement, moves }, stage)).rejects.toMatchObject({
      code: 'nested_targets',
    })
  })

  it('refuses a mount point, and a directory that holds one', async () => {
    const { room, context, placement } = place(['a'])
    // /proc is a mount point wherever there is one.
    const move = { target: '/proc', staged: '/.proc.staged', previous: '/proc.aside' }
    const refused = putTreesInPlace(context, { ...placement, moves: [move] }, async () => {})
    await expect(refused).rejects.toMatchObject({ kind: 'refused', code: 'target_is_mount_point' })
    expect(mountPointsIn('/proc')[0]).toBe('/proc')
    expect(mountPointsIn(room)).toEqual([])
  })

  it('refuses a second restore while the first is at it', async () => {
    const { targets, placement, context, stage } = place()
    await putTreesInPlace(context, placement, async () => {
      const second = putTreesInPlace(context, placement, async () => {})
      await expect(second).rejects.toMatchObject({ kind: 'locked', code: 'restore_running' })
      await stage()
    })
    expect(targets.map(content)).toEqual(['new', 'new'])
  })
})

describe('a restore that was killed', () => {
  /** A record of a process that is no more. */
  function recordOf(placement: TreePlacement, changes: Partial<TreeRecord>): TreeRecord {
    const moves = placement.moves.map(move => ({ ...move, replaces: true }))
    const home = moves[0]?.target ?? ''
    const dead = { pid: 2 ** 22 + 1, started: '1' }
    const { disposable } = placement
    return {
      format: 1,
      kind: 'trees',
      ...dead,
      home,
      moves,
      disposable,
      scratch: [],
      service: null,
      phase: 'staging',
      ...changes,
    }
  }

  it('before anything moved is undone by the next run', async () => {
    const { room, targets, placement, context, warnings, stage } = place()
    await stage()
    await createTreeRecord(recordOf(placement, { scratch: [...placement.scratch] }))
    expect(await finishInterruptedTrees(context, { name: 'up', paths: targets, service: null })).toBe('undone')
    expect(targets.map(content)).toEqual(['old', 'old'])
    expect(leftovers(room)).toEqual([])
    expect(warnings).toEqual([expect.stringContaining('is as it was')])
    expect(await finishInterruptedTrees(context, { name: 'up', paths: targets, service: null })).toBe('none')
  })

  it.each([0, 1, 2, 3, 4])('after %d of its 4 renames is finished by the next run', async steps => {
    const { room, targets, moves, placement, context, stage } = place()
    await stage()
    await createTreeRecord(recordOf(placement, { phase: 'forward', scratch: [...placement.scratch] }))
    const renames = moves.flatMap(({ target, staged, previous }) => [
      [target, previous],
      [staged, target],
    ])
    for (const [from = '', to = ''] of renames.slice(0, steps)) renameSync(from, to)
    expect(await finishInterruptedTrees(context, { name: 'up', paths: targets, service: null })).toBe('finished')
    expect(targets.map(content)).toEqual(['new', 'new'])
    expect(moves.map(({ previous }) => content(previous))).toEqual(['old', 'old'])
    expect(leftovers(room)).toEqual([])
  })

  it.each([0, 1, 2, 3, 4])('while it was being undone after %d renames is undone', async steps => {
    const { room, targets, moves, placement, context, stage } = place()
    await stage()
    await createTreeRecord(recordOf(placement, { phase: 'back', scratch: [...placement.scratch] }))
    const renames = moves.flatMap(({ target, staged, previous }) => [
      [target, previous],
      [staged, target],
    ])
    for (const [from = '', to = ''] of renames.slice(0, steps)) renameSync(from, to)
    expect(await finishInterruptedTrees(context, { name: 'up', paths: targets, service: null })).toBe('undone')
    expect(targets.map(content)).toEqual(['old', 'old'])
    expect(leftovers(room)).toEqual([])
  })

  it('and whose target somebody made anew meanwhile overwrites nothing', async () => {
    const { targets, moves, placement, context, stage } = place(['a'])
    await stage()
    await createTreeRecord(recordOf(placement, { phase: 'forward' }))
    renameSync(targets[0] ?? '', moves[0]?.previous ?? '')
    write(targets[0] ?? '', "the application's")
    const finishing = () => finishInterruptedTrees(context, { name: 'up', paths: targets, service: null })
    await expect(finishing()).rejects.toMatchObject({ code: 'target_reappeared' })
    expect(content(targets[0] ?? '')).toBe("the application's")
    renameSync(targets[0] ?? '', `${targets[0]}.mine`)
    expect(await finishing()).toBe('finished')
    expect(content(targets[0] ?? '')).toBe('new')
  })

  it('is left alone while it lives', async () => {
    const { targets, placement, context } = place()
    await createTreeRecord(recordOf(placement, thisProcess()))
    const finishing = finishInterruptedTrees(context, { name: 'up', paths: targets, service: null })
    await expect(finishing).rejects.toMatchObject({ kind: 'locked' })
  })

  it('leaves no record that could rename or remove what lies elsewhere', async () => {
    const { targets, placement, context } = place()
    const hostile = recordOf(placement, { scratch: ['/etc'] })
    await createTreeRecord(hostile)
    await expect(finishInterruptedTrees(context, { name: 'up', paths: targets, service: null })).rejects.toMatchObject({
      code: 'restore_record_damaged',
    })
  })
})

describe('a rollback of directories', () => {
  it('brings back all that the last restore replaced, and can be rolled back itself', async () => {
    const { targets, placement, context, stage } = place()
    await putTreesInPlace(context, placement, stage)
    const request = { source: sourceOf(targets), dryRun: false }
    const plan = await planTreeRollback(context, request, targets)
    expect(plan).toMatchObject({ target: targets.join(', '), replaces: true, in_place: true })
    const result = await rollBackTrees(context, { ...request, previous: plan.previous }, targets)
    expect(result).toMatchObject({ previous: plan.previous, undo: 'nexus-backup restore up --rollback --confirm up' })
    expect(targets.map(content)).toEqual(['old', 'old'])
    await rollBackTrees(context, request, targets)
    expect(targets.map(content)).toEqual(['new', 'new'])
  })

  it('leaves a root alone that the last restore did not replace, and says so', async () => {
    const { targets, placement, context, stage, moves, warnings } = place()
    await putTreesInPlace(context, placement, stage)
    const [first] = moves
    if (first === undefined) return
    const later = { ...first, previous: previousNames([first.target], now)[0] ?? '' }
    await putTreesInPlace(context, { ...placement, moves: [later] }, async () => write(first.staged, 'newest'))
    await rollBackTrees(context, { source: sourceOf(targets), dryRun: false }, targets)
    expect(targets.map(content)).toEqual(['new', 'new'])
    expect(warnings).toEqual([expect.stringContaining('stays as it is')])
  })

  it('follows a root that is a symbolic link and leaves the link', async () => {
    const { room, targets, placement, context, stage } = place(['a'])
    symlinkSync('a', join(room, 'link'))
    await putTreesInPlace(context, placement, stage)
    await rollBackTrees(context, { source: sourceOf([join(room, 'link')]), dryRun: false }, [join(room, 'link')])
    expect(content(targets[0] ?? '')).toBe('old')
    expect(execFileSync('readlink', [join(room, 'link')], { encoding: 'utf8' })).toBe('a\n')
  })

  it('says when there is nothing to roll back', async () => {
    const { targets, context } = place()
    const planning = planTreeRollback(context, { source: sourceOf(targets), dryRun: true }, targets)
    await expect(planning).rejects.toMatchObject({ kind: 'not-found', code: 'nothing_to_roll_back' })
  })
})
