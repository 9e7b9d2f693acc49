import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, it, vi } from 'vitest'
import { finishInterruptedTrees } from '../../../src/operations/trees/interrupted-trees.js'
import { putTreesInPlace } from '../../../src/operations/trees/tree-in-place.js'
import { recordPath } from '../../../src/sources/crash-record.js'
import { testContext } from '../../helpers/context.js'
import { faults, hasDied, mend } from '../../helpers/failing-fs.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

vi.mock('node:fs', async original => (await import('../../helpers/failing-fs.js')).failingSync(await original()))
vi.mock('node:fs/promises', async original =>
  (await import('../../helpers/failing-fs.js')).failingPromises(await original()),
)

afterEach(mend)

function place() {
  const room = temporaryDirectory()
  const moves = ['a', 'b'].map(name => ({
    target: join(room, name),
    staged: join(room, `.${name}.staged`),
    previous: join(room, `${name}.before-restore-20251201T000000.000Z`),
  }))
  for (const { target } of moves) write(target, 'old')
  const placement = { source: 'up', moves, disposable: true, scratch: [], service: null }
  const run = () =>
    putTreesInPlace(testContext(), placement, async () => {
      for (const { staged } of moves) write(staged, 'new')
    })
  return { room, moves, run }
}

function write(directory: string, content: string): void {
  mkdirSync(directory)
  writeFileSync(join(directory, 'content'), content)
}

const content = (directory: string) => (existsSync(directory) ? readFileSync(join(directory, 'content'), 'utf8') : null)

it('restores trees without hard links, all of them or none wherever it is killed', async () => {
  const outcomes = new Set<string>()
  for (let at = 1; ; at += 1) {
    const { room, moves, run } = place()
    Object.assign(faults, { links: false, dieAt: at, calls: 0 })
    const outcome = await run().catch((error: unknown) => error)
    if (!hasDied()) {
      expect(outcome).toHaveLength(2)
      break
    }
    mend()
    faults.links = false
    for (const record of moves.map(({ target }) => recordPath(target)).filter(path => existsSync(path))) {
      const dead = { ...JSON.parse(readFileSync(record, 'utf8')), pid: 2 ** 22 - 1, started: 'never' }
      writeFileSync(record, JSON.stringify(dead))
    }
    const paths = moves.map(({ target }) => target)
    await finishInterruptedTrees(testContext(), { name: 'up', paths, service: null })
    const found = moves.map(({ target, previous }) => [content(target), content(previous)])
    outcomes.add(JSON.stringify(found))
    const whole = [
      [
        ['old', null],
        ['old', null],
      ],
      [
        ['new', 'old'],
        ['new', 'old'],
      ],
    ]
    expect(whole, `killed at call ${at}`).toContainEqual(found)
    const left = readdirSync(room).filter(name => name.startsWith('.') && !/claim$|\.new$/.test(name))
    expect(left, `killed at call ${at}`).toEqual([])
  }
  expect(outcomes.size).toBe(2)
})
