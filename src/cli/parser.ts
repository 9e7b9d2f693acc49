import { Argument, Command, CommanderError, Option } from 'commander'
import { NexusError } from '../errors.js'
import { globalOptions } from './declaration/globals.js'
import { commands } from './declaration/index.js'
import type { ArgumentDeclaration, CommandDeclaration, OptionDeclaration } from './declaration/types.js'
import type { OptionValues, ParsedCommand } from './parsed.js'

/**
 * Understands a command line, without the program's own name, by the declaration.
 * Global options are found before and after the command. Throws `usage` for everything else.
 */
export function parseCommandLine(argv: readonly string[]): ParsedCommand {
  const found: ParsedCommand[] = []
  const program = prepare(new Command('nexus-backup'))
  for (const option of globalOptions) program.addOption(toOption(option))
  for (const command of commands) addCommand(program, command, { found, words: argv })
  try {
    program.parse([...argv], { from: 'user' })
  } catch (error) {
    throw usageError(error, argv)
  }
  const parsed = found[0]
  if (parsed === undefined) throw missingCommand('a command', commands, 'nexus-backup')
  return parsed
}

function prepare(command: Command): Command {
  return command
    .exitOverride()
    .configureOutput({ writeOut: () => {}, writeErr: () => {} })
    .helpOption(false)
    .helpCommand(false)
    .allowExcessArguments(false)
}

interface Into {
  found: ParsedCommand[]
  words: readonly string[]
}

function addCommand(parent: Command, declaration: CommandDeclaration, into: Into): void {
  const word = declaration.name.split(' ').at(-1) ?? declaration.name
  const command = prepare(parent.command(word))
  for (const option of declaration.options) command.addOption(toOption(option))
  if (declaration.subcommands !== undefined) {
    for (const subcommand of declaration.subcommands) addCommand(command, subcommand, into)
    command.allowExcessArguments(true).action((_options, self: Command) => {
      const [word] = self.args
      if (word === undefined) throw missingCommand(declaration.name, declaration.subcommands ?? [], declaration.name)
      throw new NexusError('usage', 'unknown_command', `unknown command '${declaration.name} ${word}'`, {
        hint: nextStep(`nexus-backup ${declaration.name} --help`),
      })
    })
    return
  }
  for (const argument of declaration.arguments) command.addArgument(toArgument(argument))
  command.action((...given: unknown[]) => {
    const self = given.at(-1) as Command
    into.found.push({ command: declaration, operands: self.args, options: valuesOf(self), words: into.words })
  })
}

function toOption(declaration: OptionDeclaration): Option {
  const { value: name, optionalValue } = declaration
  const value = name === undefined ? '' : optionalValue === true ? ` [${name}]` : ` <${name}>`
  const option = new Option(`--${declaration.name}${value}`, declaration.description)
  if (declaration.choices !== undefined) option.choices([...declaration.choices])
  if (declaration.repeatable === true) {
    option.argParser((value: string, before: readonly string[] | undefined) => [...(before ?? []), value])
  }
  return option
}

function toArgument(declaration: ArgumentDeclaration): Argument {
  const name = declaration.variadic ? `${declaration.name}...` : declaration.name
  const argument = new Argument(declaration.required ? `<${name}>` : `[${name}]`, declaration.description)
  if (declaration.choices !== undefined) argument.choices([...declaration.choices])
  return argument
}

/** Commander names values in camel case and turns `--no-color` into a `color` that is false. */
function valuesOf(command: Command): OptionValues {
  const given = command.optsWithGlobals() as Record<string, unknown>
  const values: Record<string, string | true | readonly string[]> = {}
  for (const [key, value] of Object.entries(given)) {
    const name = key.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
    if (value === false) values[`no-${name}`] = true
    else if (typeof value === 'string' || Array.isArray(value)) values[name] = value
    else if (value === true && name !== 'color') values[name] = true
  }
  return values
}

function missingCommand(what: string, choices: readonly CommandDeclaration[], name: string): NexusError {
  const words = choices.map(choice => choice.name.split(' ').at(-1)).join(', ')
  const message = name === 'nexus-backup' ? `${what} is missing` : `${what} needs one of: ${words}`
  const help = name === 'nexus-backup' ? 'nexus-backup --help' : `nexus-backup ${name} --help`
  return new NexusError('usage', 'missing_command', message, { hint: nextStep(help) })
}

function nextStep(command: string): string {
  return `see '${command}'`
}

const codes: Readonly<Record<string, string>> = {
  'commander.unknownOption': 'unknown_option',
  'commander.unknownCommand': 'unknown_command',
  'commander.missingArgument': 'missing_argument',
  'commander.optionMissingArgument': 'missing_value',
  'commander.excessArguments': 'too_many_arguments',
  'commander.invalidArgument': 'invalid_value',
  'commander.help': 'missing_command',
}

function usageError(error: unknown, argv: readonly string[]): unknown {
  if (!(error instanceof CommanderError)) return error
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n')
  const suggestion = rest.join(' ').match(/Did you mean (.*)\?/)?.[1]
  const word = argv.find(value => commands.some(command => command.name === value))
  const help = nextStep(`nexus-backup ${word === undefined ? '' : `${word} `}--help`)
  const hint = suggestion === undefined ? help : `did you mean ${suggestion}? ${help}`
  const message = error.code === 'commander.help' ? 'a command is missing' : first.replace(/\.$/, '')
  return new NexusError('usage', codes[error.code] ?? 'usage', message, { hint })
}
