import { describe, expect, it } from 'vitest'
import { exitTable } from '../../src/cli/declaration/exits.js'
import { globalOptions } from '../../src/cli/declaration/globals.js'
import { commands, findCommand, leafCommands } from '../../src/cli/declaration/index.js'
import { exitStatusOf, interruption } from '../../src/cli/exit-codes.js'
import { parseCommandLine } from '../../src/cli/parser.js'
import { type ErrorKind, NexusError } from '../../src/errors.js'

const kinds: Record<ErrorKind, number> = {
  failed: 1,
  usage: 2,
  partial: 3,
  damage: 4,
  'not-found': 5,
  locked: 6,
  configuration: 7,
  refused: 8,
  interrupted: 130,
}

/** What PostgreSQL makes of their statuses decides those of archive and fetch. */
const without: Record<string, number[]> = { completion: [7], 'pitr archive': [130], 'pitr fetch': [1, 2, 7, 130] }

describe('the declaration', () => {
  it('has the six commands of the contract first, and nothing else among them', () => {
    const main = commands.filter(command => command.group === 'main').map(command => command.name)
    expect(main).toEqual(['create', 'list', 'verify', 'restore', 'prune', 'pitr'])
  })

  it('has exactly the options of the contract for each command', () => {
    const names = (command: string) => findCommand(command)?.options.map(option => option.name)
    expect(names('create')).toEqual(
      'type check verify allow-damaged allow-emptied allow-other-names init owner adopt take-over label keep-until'.split(
        ' ',
      ),
    )
    expect(names('list')).toEqual(['all', 'journal', 'files'])
    expect(names('verify')).toEqual(['drill'])
    expect(names('restore')).toEqual([
      'to',
      'include',
      'exclude',
      'merge',
      'overwrite',
      'force',
      'untrusted',
      'in-place',
      'confirm',
      'rollback',
      'allow-damaged',
      'allow-other-names',
      'no-owner',
      'tablespace-map',
      'waldir',
    ])
    const rules = 'last hourly daily weekly monthly yearly within pitr'.split(' ').map(rule => `keep-${rule}`)
    expect(names('prune')).toEqual([...rules, 'take-over'])
    expect(names('pitr points')).toEqual([])
    expect(names('pitr restore')).toEqual(
      'at lsn xid before restore-point end to timeline allow-damaged tablespace-map waldir target-action keep-archiving start stop'.split(
        ' ',
      ),
    )
    expect(globalOptions.map(option => option.name).filter(name => name !== 'help')).toEqual(
      'config repo state sqlite name key-file passphrase-file json quiet verbose dry-run yes no-color wait'.split(' '),
    )
  })

  it('never gives an option of a command the name of a global one', () => {
    const globals = new Set(globalOptions.map(option => option.name))
    const clashes = leafCommands().flatMap(command => command.options.filter(option => globals.has(option.name)))
    expect(clashes).toEqual([])
  })

  it('names every variable of its own NEXUS_BACKUP_*', () => {
    const variables = globalOptions.flatMap(option => option.environment ?? [])
    for (const variable of variables) expect(variable).toMatch(/^NEXUS_BACKUP_[A-Z_]+$/)
    expect(new Set(variables).size).toBe(variables.length)
  })

  it('gives every command an example and ascending exit codes out of the table', () => {
    const known = exitTable.map(({ status }) => status)
    for (const command of [...commands, ...leafCommands()]) {
      expect(command.examples.length, command.name).toBeGreaterThan(0)
      const statuses = command.exits.map(({ status }) => status)
      expect(statuses, command.name).toEqual(
        [...known, 126].filter(status => statuses.includes(status)).sort(ascending),
      )
      const missing = [0, 1, 2, 7, 130].filter(status => !statuses.includes(status))
      expect(missing, command.name).toEqual(without[command.name] ?? [])
    }
  })

  it('has examples that its own parser understands', () => {
    for (const { examples, name } of commands) {
      for (const { command } of examples) {
        const words = command.match(/nexus-backup (.*?)(?: \||\)| >|$)/)?.[1] ?? ''
        const argv = [...words.matchAll(/"([^"]*)"|(\S+)/g)].map(match => match[1] ?? match[2] ?? '')
        expect(() => parseCommandLine(argv), `${name}: ${command}`).not.toThrow()
      }
    }
  })
})

function ascending(a: number, b: number): number {
  return a - b
}

describe('exit codes', () => {
  it('are those of the contract for each kind of error', () => {
    const found = Object.keys(kinds).map(kind => [kind, exitStatusOf(new NexusError(kind as ErrorKind, 'x', 'y'))])
    expect(Object.fromEntries(found)).toEqual(kinds)
  })

  it('are 1 for what nobody expected', () => {
    expect(exitStatusOf(new TypeError('x'))).toBe(1)
    expect(exitStatusOf('x')).toBe(1)
  })

  it('tell the signals apart', () => {
    expect(exitStatusOf(interruption('SIGHUP'))).toBe(129)
    expect(exitStatusOf(interruption('SIGINT'))).toBe(130)
    expect(exitStatusOf(interruption('SIGTERM'))).toBe(143)
  })

  it('stand in the table, every one', () => {
    const known = exitTable.map(({ status }) => status)
    for (const status of [0, ...Object.values(kinds), 129, 143]) expect(known).toContain(status)
  })
})
