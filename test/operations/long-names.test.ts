import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { putInPlace } from '../../src/operations/databases/put-in-place.js'
import { lastPrevious, namesLike, previousName, previousNames } from '../../src/operations/set-aside.js'
import { putTreesInPlace } from '../../src/operations/trees/tree-in-place.js'
import { planTreeRollback, rollBackTrees } from '../../src/operations/trees/tree-rollback.js'
import { recordPath } from '../../src/sources/crash-record.js'
import { derivedName } from '../../src/system/derived-name.js'
import { stagingPlace } from '../../src/system/staging.js'
import { testContext } from '../helpers/context.js'
import { temporaryDirectory } from '../helpers/temporary.js'

if (existsSync('/dev/shm')) vi.stubEnv('TMPDIR', '/dev/shm')

/** A name of so many bytes, of characters of one to four of them. */
function nameOf(bytes: number, characters: string): string {
  let name = ''
  for (const character of characters.repeat(bytes)) {
    if (Buffer.byteLength(name + character) <= bytes) name += character
  }
  return name.padEnd(name.length + bytes - Buffer.byteLength(name), 'x')
}

const alphabets = ['a', 'é', '日本', '𝄞a', 'aé日𝄞']
const lengths = Array.from({ length: 255 }, (_, at) => at + 1)
const now = new Date('2025-12-01T00:00:00Z')

describe('names that are made of another one', () => {
  it('fit into a directory, whole characters only, with all that is made of them in turn', () => {
    for (const alphabet of alphabets) {
      for (const length of lengths) {
        const target = `/tmp/${nameOf(length, alphabet)}`
        const { staged } = stagingPlace(target, `nexus-restore-7f3a-${2 ** 22}`)
        const derived = [
          `${recordPath(target)}.${2 ** 22}.new`,
          `${previousName(target, now)}-journal`,
          `/tmp/.${basename(previousName(target, now))}.kept`,
          `${staged}.private`,
          `${staged}.rest.digests`,
          `/tmp/.${basename(staged)}.nexus-restore-7f3a91c0.private`,
        ]
        for (const path of derived) {
          expect(Buffer.byteLength(basename(path)), path).toBeLessThanOrEqual(255)
          expect(path).not.toContain('\ufffd')
          expect(path.startsWith('/tmp/')).toBe(true)
        }
      }
    }
  })

  it('stay what they were as far as they fit, and differ where the names do', () => {
    expect(derivedName('app.db', { prefix: '.', suffix: '.x' })).toBe('.app.db.x')
    const [one, other] = [`${'a'.repeat(254)}b`, `${'a'.repeat(254)}c`]
    const names = [one, other].map(name => derivedName(name, { suffix: '.x', reserved: 8 }))
    expect(new Set(names).size).toBe(2)
    expect(names[0]).toBe(derivedName(one, { suffix: '.x', reserved: 8 }))
  })

  it('are found again, also those that earlier releases made', () => {
    for (const length of [1, 200, 211, 212, 219, 220, 255]) {
      const room = temporaryDirectory()
      const target = join(room, nameOf(length, 'aé日𝄞'))
      const made = previousName(target, now)
      writeFileSync(made, '')
      expect([lastPrevious(target), namesLike([target], made)]).toEqual([made, [made]])
      expect(previousNames([target], now)[0]).not.toBe(made)
      const older = `${target}.before-restore-20251202T000000.000Z`
      if (Buffer.byteLength(basename(older)) > 255) continue
      writeFileSync(older, '')
      expect(lastPrevious(target)).toBe(older)
    }
  })
})

describe.each([1, 180, 211, 225, 240, 247, 248, 255])('a target whose name has %i bytes', length => {
  it('is restored to as a file, replaced, and rolled back', async () => {
    const room = temporaryDirectory()
    const target = join(room, nameOf(length, 'aé日𝄞'))
    const put = async (text: string, at: string) => {
      const { staged } = stagingPlace(target, 'nexus-restore-7f3a-1')
      const placement = { source: 'app', target, staged, scratch: true, sidecars: [], previous: at }
      const more = { service: null, allowOtherNames: false, problems: [] }
      return putInPlace(testContext(), { ...placement, ...more }, async () => writeFileSync(staged, text))
    }
    expect(await put('first', previousName(target, now))).toBeNull()
    const previous = await put('second', previousName(target, now))
    expect(readFileSync(target, 'utf8')).toBe('second')
    expect([lastPrevious(target), readFileSync(previous ?? '', 'utf8')]).toEqual([previous, 'first'])
    expect(readdirSync(room)).toHaveLength(2)
  })

  it('is restored to as a directory, and rolled back', async () => {
    const room = temporaryDirectory()
    const target = join(room, nameOf(length, 'aé日𝄞'))
    mkdirSync(target)
    const { staged } = stagingPlace(target, 'nexus-restore-7f3a-1')
    const moves = [{ target, staged, previous: previousName(target, now) }]
    const placement = { source: 'up', moves, disposable: true, scratch: [], service: null }
    const kept = () => [{ target, previous: moves[0]?.previous ?? '', name: 'kept' }]
    writeFileSync(join(target, 'kept'), '')
    await putTreesInPlace(testContext(), { ...placement, kept }, async () => {
      mkdirSync(staged)
      writeFileSync(join(staged, 'new'), '')
    })
    expect(readdirSync(target).sort()).toEqual(['kept', 'new'])
    const rollback = { source: { name: 'up', service: null } }
    expect((await planTreeRollback(testContext(), rollback, [target])).replaces).toBe(true)
    await rollBackTrees(testContext(), rollback, [target])
    expect(readdirSync(target)).toEqual(['kept'])
  })
})
