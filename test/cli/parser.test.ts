import { describe, expect, it } from 'vitest'
import { globalOptions } from '../../src/cli/declaration/globals.js'
import { leafCommands } from '../../src/cli/declaration/index.js'
import type { OptionDeclaration } from '../../src/cli/declaration/types.js'
import { completeOptions } from '../../src/cli/option-values.js'
import { parseCommandLine } from '../../src/cli/parser.js'
import { hasSwitch, helpAskedFor } from '../../src/cli/words.js'
import { NexusError } from '../../src/errors.js'

function thrown(work: () => unknown): NexusError {
  try {
    work()
  } catch (error) {
    if (error instanceof NexusError) return error
  }
  throw new Error('no NexusError was thrown')
}

function written(option: OptionDeclaration): string[] {
  if (option.value === undefined) return [`--${option.name}`]
  return [`--${option.name}`, option.choices?.[0] ?? '7']
}

describe('the parser', () => {
  const accepted = leafCommands().flatMap(command =>
    [...command.options, ...globalOptions.filter(option => option.name !== 'help')].map(option => ({
      command,
      option,
    })),
  )

  it.each(accepted)('understands $command.name --$option.name after the command', ({ command, option }) => {
    const operands = command.arguments.filter(a => a.required).map(a => a.choices?.[0] ?? 'word')
    const parsed = parseCommandLine([...command.name.split(' '), ...operands, ...written(option)])
    expect(parsed.command.name).toBe(command.name)
    const value = option.value === undefined ? true : (option.choices?.[0] ?? '7')
    expect(parsed.options[option.name]).toEqual(option.repeatable === true ? [value] : value)
    expect(parsed.operands).toEqual(operands)
  })

  it('understands global options before the command', () => {
    const parsed = parseCommandLine(['--json', '--repo', '/r', '--no-color', 'list', 'itsm'])
    expect(parsed.options).toEqual({ json: true, repo: '/r', 'no-color': true })
    expect(parsed.operands).toEqual(['itsm'])
  })

  it('lets the last one win when an option is given twice', () => {
    expect(parseCommandLine(['--repo', '/a', 'list', '--repo', '/b']).options.repo).toBe('/b')
  })

  it('takes what follows -- as it is', () => {
    expect(parseCommandLine(['create', '--', '--json']).operands).toEqual(['--json'])
  })

  it('keeps several sources in order', () => {
    expect(parseCommandLine(['create', 'b', '--verify', 'a']).operands).toEqual(['b', 'a'])
  })

  it.each([
    [['cretae'], 'unknown_command', 'create'],
    [['create', '--tpye', 'full'], 'unknown_option', '--type'],
    [['list', '--jsno'], 'unknown_option', '--json'],
  ])('names what was probably meant by %j', (argv, code, meant) => {
    const error = thrown(() => parseCommandLine(argv))
    expect(error.kind).toBe('usage')
    expect(error.code).toBe(code)
    expect(error.hint).toContain(`did you mean ${meant}?`)
  })

  it.each([
    [[], 'missing_command'],
    [['--json'], 'missing_command'],
    [['pitr'], 'missing_command'],
    [['pitr', 'push', 'x'], 'unknown_command'],
    [['create', '--type', 'ful'], 'invalid_value'],
    [['create', '--label'], 'missing_value'],
    [['list', 'a', 'b'], 'too_many_arguments'],
    [['pitr', 'points'], 'missing_argument'],
    [['completion', 'tcsh'], 'invalid_value'],
  ])('refuses %j as %s', (argv, code) => {
    const error = thrown(() => parseCommandLine(argv))
    expect([error.kind, error.code]).toEqual(['usage', code])
    expect(error.hint).toMatch(/nexus-backup .*--help/)
  })
})

describe('option values', () => {
  const complete = (argv: string[], env: Record<string, string> = {}) => completeOptions(parseCommandLine(argv), env)

  it('come from the environment where no flag gives them', () => {
    expect(complete(['list'], { NEXUS_BACKUP_REPO: '/e', NEXUS_BACKUP_JSON: '1' })).toMatchObject({
      repo: '/e',
      json: true,
    })
    expect(complete(['list', '--repo', '/f'], { NEXUS_BACKUP_REPO: '/e' }).repo).toBe('/f')
    expect(complete(['list'], { NEXUS_BACKUP_REPO: '', NEXUS_BACKUP_JSON: '0' }).repo).toBeUndefined()
  })

  it.each([
    [['list', '--wait', '-1'], {}, '--wait'],
    [['list', '--wait', '1.5'], {}, '--wait'],
    [['list', '--repo', ''], {}, '--repo'],
    [['prune', '--keep-last', '0'], {}, '--keep-last'],
    [['prune', '--keep-within', '6m'], {}, '--keep-within'],
    [['list'], { NEXUS_BACKUP_WAIT: 'soon' }, 'NEXUS_BACKUP_WAIT'],
    [['list'], { NEXUS_BACKUP_JSON: 'maybe' }, 'NEXUS_BACKUP_JSON'],
  ])('are refused when %j with %j is not one, by name', (argv, env, name) => {
    const error = thrown(() => complete(argv, env as Record<string, string>))
    expect([error.kind, error.code]).toEqual(['usage', 'invalid_value'])
    expect(error.message).toContain(name)
  })
})

describe('words of a command line that is not parsed', () => {
  it('finds the command whose help is asked', () => {
    const name = (argv: string[]) => {
      const found = helpAskedFor(argv)
      return found === undefined || found === 'program' ? found : found.name
    }
    expect(name(['--help'])).toBe('program')
    expect(name(['help'])).toBe('program')
    expect(name(['help', 'create'])).toBe('create')
    expect(name(['--repo', 'list', 'restore', '--help'])).toBe('restore')
    expect(name(['pitr', 'points', '-h'])).toBe('pitr points')
    expect(name(['pitr', '--help'])).toBe('pitr')
    expect(name(['create', '--', '--help'])).toBeUndefined()
    expect(name(['create', '--label', '--help'])).toBeUndefined()
    expect(name(['create'])).toBeUndefined()
  })

  it('finds a switch, but not among values', () => {
    expect(hasSwitch(['list', '--json'], '--json')).toBe(true)
    expect(hasSwitch(['create', '--label', '--json'], '--json')).toBe(false)
    expect(hasSwitch(['create', '--', '--json'], '--json')).toBe(false)
  })
})
