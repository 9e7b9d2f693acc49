import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { everyFile } from '../operations/sealing/encrypted.js'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { digestOf } from './helpers/kills.js'
import { backupIds, type Place, place } from './helpers/place.js'
import { run } from './helpers/run.js'
import { onTerminal } from './helpers/terminal.js'

const passphrase = 'six random words nobody guesses'

function keysAdd({ repository, state }: Place, ...more: string[]): string[] {
  return ['keys', 'add', ...more, '--repo', repository, '--state', state]
}

/** What a repository holds, by content, without what locks and journals leave. */
function content({ repository }: Place): Record<string, string> {
  const files = everyFile(repository).filter(path => !path.includes('/.locks/'))
  return Object.fromEntries(files.map(path => [path, digestOf(path)]))
}

/** A plain repository with one backup. */
async function plain(): Promise<Place> {
  const at = place()
  await makeDatabase(at.database)
  await at.ok('create', ['--init'])
  return at
}

/** A repository that opens for a passphrase alone, chosen on a terminal, with a full and an incr. */
async function sealed(): Promise<Place> {
  const at = await plain()
  const terminal = onTerminal(keysAdd(at, 'passphrase'))
  await terminal.shows('New passphrase:')
  terminal.type(`${passphrase}\r`)
  await terminal.shows('The same again:')
  terminal.type(`${passphrase}\r`)
  const { code, screen, echoes } = await terminal.ended()
  expect([code, echoes]).toEqual([0, true])
  expect(screen).not.toContain(passphrase)
  expect(screen).toContain('opens for pass-')
  for (const generation of [1, 2]) {
    await changeDatabase(at.database, generation)
    await at.ok('create')
  }
  return at
}

describe('a passphrase on a terminal', () => {
  it('is asked for without being shown, once in a run, by whatever must open the repository', async () => {
    const at = await sealed()
    const restored = join(at.directory, 'restored.db')
    const runs: [string[], number][] = [
      [['verify', '--drill', ...at.flags], 0],
      [['restore', 'app', '--to', restored, ...at.flags], 0],
      [keysAdd(at, `key-file=${join(at.directory, 'key')}`), 0],
    ]
    expect((await run(['keys', 'create', join(at.directory, 'key')])).code).toBe(0)
    for (const [words, status] of runs) {
      const terminal = onTerminal(words)
      await terminal.shows('Passphrase of the repository:')
      terminal.type(`${passphrase}\r`)
      const { code, screen, echoes } = await terminal.ended()
      expect([code, echoes]).toEqual([status, true])
      expect(screen).not.toContain(passphrase)
      expect(screen).not.toContain('visibility')
    }
    expect(stateOf(restored)).toEqual(expectedState(2))
    expect(await at.run('verify', ['--key-file', join(at.directory, 'key')])).toMatchObject({ code: 0, stderr: '' })
    // Backups take the public half alone: nobody is asked.
    const { code, screen } = await onTerminal(['create', ...at.flags]).ended()
    expect([code, screen.includes('Passphrase')]).toEqual([0, false])
  })

  it('that is another one is refused, with what would open it', async () => {
    const at = await sealed()
    const terminal = onTerminal(['restore', 'app', '--to', join(at.directory, 'restored.db'), ...at.flags])
    await terminal.shows('Passphrase of the repository:')
    terminal.type('not that one at all\r')
    const { code, screen, echoes } = await terminal.ended()
    expect([code, echoes]).toEqual([8, true])
    expect(screen).toMatch(/no key at hand opens .*the passphrase is another one\r\n.*hint: /)
    expect(screen).not.toContain('not that one')
  })

  it.each([
    ['mistyped', [passphrase, `${passphrase}!`], 'the two passphrases differ'],
    ['short', ['short', 'short'], 'at least 8 characters'],
    ['empty', [''], 'it is empty'],
  ])('that is new and %s is refused, and nothing is changed', async (_, answers, why) => {
    const at = await plain()
    const key = join(at.directory, 'key')
    expect((await run(['keys', 'create', key])).code).toBe(0)
    const before = content(at)
    // The key file comes first: it is not let in either.
    const terminal = onTerminal(keysAdd(at, `key-file=${key}`, 'passphrase'))
    for (const [n, answer] of answers.entries()) {
      await terminal.shows(n === 0 ? 'New passphrase:' : 'The same again:')
      terminal.type(`${answer}\r`)
    }
    const { code, screen, echoes } = await terminal.ended()
    expect([code > 0, echoes]).toEqual([true, true])
    expect(screen).toContain(why)
    expect(content(at)).toEqual(before)
    expect(await at.run('create')).toMatchObject({ code: 0, stderr: '' })
  })

  it('given up with Ctrl-C leaves everything as it was, and the terminal too', async () => {
    const at = await sealed()
    const before = content(at)
    const target = join(at.directory, 'restored.db')
    const questions: [string[], string[]][] = [
      [keysAdd(at, 'passphrase'), ['Passphrase of the repository:', 'New passphrase:', 'The same again:']],
      [['restore', 'app', '--to', target, ...at.flags], ['Passphrase of the repository:']],
      [['restore', 'app', '--in-place', '--confirm', 'app', ...at.flags], ['Passphrase of the repository:']],
      [['verify', ...at.flags], ['Passphrase of the repository:']],
    ]
    const database = digestOf(at.database)
    for (const [words, asked] of questions) {
      for (const last of asked) {
        const terminal = onTerminal(words)
        for (const question of asked) {
          await terminal.shows(question)
          if (question === last) break
          terminal.type(`${passphrase}\r`)
        }
        terminal.type('half a pass\x03')
        const { code, screen, echoes } = await terminal.ended()
        expect([words[0], code, echoes, screen.includes('half a pass')]).toEqual([words[0], 130, true, false])
        expect(screen.slice(screen.lastIndexOf('\x1b[?25')).startsWith('\x1b[?25h')).toBe(true)
      }
    }
    expect(content(at)).toEqual(before)
    expect(readdirSync(at.directory)).not.toContain('restored.db')
    expect(digestOf(at.database)).toBe(database)
    expect(backupIds(at)).toHaveLength(3)
  })
})

describe('without a terminal', () => {
  it('nobody is asked: it ends at once and names the flag', async () => {
    const at = await sealed()
    const adding = await run(keysAdd(at, 'passphrase'))
    expect([adding.code, adding.stderr]).toEqual([8, expect.stringContaining('--passphrase-file FILE')])
    const fresh = await plain()
    const beginning = await run(keysAdd(fresh, 'passphrase'))
    expect([beginning.code, beginning.stderr]).toEqual([2, expect.stringContaining('--passphrase-file FILE')])
    const restoring = await at.run('restore', ['app', '--to', join(at.directory, 'restored.db')])
    expect([restoring.code, restoring.stderr]).toEqual([8, expect.stringContaining('--passphrase-file FILE')])
    const { code, error } = await at.json('verify')
    expect([code, error.error.code]).toEqual([3, 'backup_unread'])
  })
})
