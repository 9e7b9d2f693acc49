import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { globalOptions } from '../../src/cli/declaration/globals.js'
import { findCommand } from '../../src/cli/declaration/index.js'
import type { OptionDeclaration } from '../../src/cli/declaration/types.js'
import { parseCommandLine } from '../../src/cli/parser.js'
import { walCommandMeant, walCommandNamed, walStatus } from '../../src/cli/wal-command.js'
import { runFake } from './fake-io.js'

const own = findCommand('pitr fetch')?.options ?? []
/** Everything but what prints something else instead and ends with 0. */
const everywhere = globalOptions.filter(({ name }) => name !== 'help')

/** Options with values that could be taken for words of the command. */
const options = (among: readonly OptionDeclaration[]) =>
  fc.array(anOption(among), { maxLength: 2 }).map(given => given.flat())

const anOption = (among: readonly OptionDeclaration[]) =>
  fc
    .tuple(
      fc.constantFrom(...among),
      fc.constantFrom('/nowhere', 'pitr', 'fetch', 'archive', 'list', '7'),
      fc.boolean(),
    )
    .map(([{ name, value }, text, joined]) => {
      if (value === undefined) return [`--${name}`]
      return joined ? [`--${name}=${text}`] : [`--${name}`, text]
    })

/** `pitr fetch FILE PATH` with options in every gap; those of the command itself only after it, unless it is `wrong`. */
const fetchLine = ({ wrong }: { wrong: boolean }) => {
  const before = options(wrong ? [...everywhere, ...own] : everywhere)
  const after = options([...everywhere, ...own])
  return fc
    .tuple(before, before, after, after, after)
    .map(([a, b, c, d, e]) => [...a, 'pitr', ...b, 'fetch', ...c, 'FILE', ...d, '/PATH', ...e])
}

describe('the commands that PostgreSQL calls', () => {
  it('are known wherever any option of theirs stands', () => {
    fc.assert(
      fc.property(fetchLine({ wrong: false }), argv => {
        expect(walCommandNamed(parseCommandLine(argv).command.name)).toBe('fetch')
        expect(walCommandMeant(argv)).toBe('fetch')
      }),
      { numRuns: 300 },
    )
  })

  it.each([
    ['fetch', ['FILE', '/PATH']],
    ['archive', ['/PATH']],
  ] as const)('are known with each option in each place: %s', (verb, operands) => {
    const words = ['pitr', verb, ...operands]
    const its = findCommand(`pitr ${verb}`)?.options ?? []
    expect(its.length).toBeGreaterThan(0)
    for (const option of [...everywhere, ...its]) {
      const { name, value } = option
      const forms = value === undefined ? [[`--${name}`]] : [[`--${name}`, '7'], [`--${name}=7`]]
      for (const form of forms) {
        // An option of the command itself stands after it; before it, it is a mistake that must not be taken for another command.
        for (let gap = 0; gap <= words.length; gap += 1) {
          const argv = [...words.slice(0, gap), ...form, ...words.slice(gap)]
          expect(walCommandMeant(argv), argv.join(' ')).toBe(verb)
          if (gap < 2 && !everywhere.includes(option)) continue
          expect(walCommandNamed(parseCommandLine(argv).command.name), argv.join(' ')).toBe(verb)
        }
      }
    }
  })

  it('never end a recovery by a failure, wherever options stand and whatever their values are', async () => {
    await fc.assert(
      fc.asyncProperty(fetchLine({ wrong: true }), async argv => {
        expect((await runFake(argv, { cwd: '/' })).status).toBeGreaterThan(125)
      }),
      { numRuns: 100 },
    )
  })

  it.each([
    [['--no-such-option', 'x', 'pitr', 'fetch', 'F', 'P']],
    [['--key-fil', '/x', 'pitr', 'fetch', 'F', 'P']],
    [['--config', 'pitr', 'fetch', 'F', 'P']],
    [['pitr', '--source', 'fetch', 'F', 'P']],
    [['pitr', '--sorce', 'main', 'fetch', 'F', 'P']],
    [['pitr', 'fetch', 'F', 'P', '--config']],
    [['pitr', 'fetch', 'F']],
    [['pitr', 'fetch', 'F', 'P', 'Q']],
    [['--config', 'pitr', '--state', 'x', 'pitr', 'fetch', 'F', 'P', '--bogus']],
    [['--wait', 'soon', 'pitr', 'fetch', 'F', 'P']],
    [['--passphrase-file', '/no/such', 'pitr', 'fetch', 'F', '/P']],
    [['--key-file', '/no/such', '--repo', '/no/such', 'pitr', 'fetch', 'F', '/P', '--source', 'x']],
  ])('end with 126 after a mistake in the command line: %j', async argv => {
    expect((await runFake(argv, { cwd: '/' })).status).toBe(126)
  })

  it('are not taken for others', async () => {
    expect(walCommandMeant(['pitr', 'archive', '--nonsense'])).toBe('archive')
    for (const words of [
      ['pitr', 'points', 'fetch'],
      ['restore', 'pitr', 'fetch'],
      ['fetch', 'pitr'],
      [],
      ['--quiet', 'list', 'pitr', 'fetch'],
    ]) {
      expect(walCommandMeant(words)).toBeUndefined()
    }
    expect((await runFake(['restore', 'pitr', 'fetch'])).status).toBe(2)
    expect((await runFake(['--sqlite', 'pitr', '--name', 'fetch', 'list'])).status).toBe(2)
  })

  it('end with what PostgreSQL takes the right way', () => {
    const all = [0, 1, 2, 4, 5, 6, 7, 8, 126, 130, 143]
    expect(all.map(status => walStatus('fetch', status))).toEqual([0, 126, 126, 126, 5, 126, 126, 126, 126, 130, 143])
    expect(all.map(status => walStatus('archive', status))).toEqual([0, 1, 2, 4, 5, 6, 7, 8, 1, 1, 1])
    expect(all.map(status => walStatus(undefined, status))).toEqual(all)
  })
})
