import { exitTable } from './declaration/exits.js'
import { environment, globalOptions } from './declaration/globals.js'
import type { CommandDeclaration, OptionDeclaration } from './declaration/types.js'

const width = 80

/** `nexus-backup --help`: the six commands, then the further ones. */
export function programHelp(commands: readonly CommandDeclaration[]): string {
  const group = (name: CommandDeclaration['group']) =>
    pairs(commands.filter(command => command.group === name).map(command => [command.name, command.summary]))
  return sections([
    [
      '',
      'Usage: nexus-backup COMMAND [ARGUMENT...] [OPTION...]\n\nBackup, proof and restore of SQLite databases, PostgreSQL clusters and files.\n',
    ],
    ['Commands', group('main')],
    ['Further commands, never needed to back up or recover', group('further')],
    ['Everywhere, before or after the command', optionPairs([...globalOptions, version])],
    ['Examples', examples(firstSteps)],
    ['Environment', pairs(environmentPairs())],
    ['Exit codes', pairs(exitTable.map(({ status, means }) => [String(status), means]))],
    ['', "'nexus-backup COMMAND --help' and 'man nexus-backup' tell more.\n"],
  ])
}

/** `nexus-backup COMMAND --help`. */
export function commandHelp(command: CommandDeclaration): string {
  const usage = usageLines(command).map((line, at) => `${at === 0 ? 'Usage: ' : '       '}${line}\n`)
  const subcommands = command.subcommands ?? []
  return sections([
    ['', `${usage.join('')}\n${command.description.map(text => wrap(text, 0)).join('\n')}`],
    ['Commands', pairs(subcommands.map(({ name, summary }) => [name, summary]))],
    ['Arguments', pairs(command.arguments.map(({ name, description }) => [name, description]))],
    ['Options', optionPairs(command.options)],
    ['Everywhere, before or after the command', optionPairs(globalOptions)],
    ['Examples', examples(command.examples)],
    ['Exit codes', pairs(command.exits.map(({ status, means }) => [String(status), means]))],
    ['', `'man nexus-backup-${command.name.split(' ')[0]}' tells more.\n`],
  ])
}

const version: OptionDeclaration = { name: 'version', description: 'Print the version' }

const firstSteps: CommandDeclaration['examples'] = [
  {
    does: 'A first backup, without a configuration',
    command: 'nexus-backup create --sqlite /opt/itsm/data/itsm_nexus.db --repo /var/backups/nexus --init',
  },
  { does: 'Prove that it can be restored', command: 'nexus-backup verify --drill --repo /var/backups/nexus' },
  {
    does: 'Bring it back beside the live data',
    command: 'nexus-backup restore itsm_nexus --repo /var/backups/nexus --to /tmp/itsm.db',
  },
]

/** The forms of a command line. */
export function usageLines(command: CommandDeclaration): readonly string[] {
  if (command.usage !== undefined) return command.usage
  if (command.subcommands !== undefined) return command.subcommands.flatMap(usageLines)
  const operands = command.arguments.map(({ name, required, variadic, choices }) => {
    const word = `${choices?.join('|') ?? name}${variadic ? '...' : ''}`
    return required ? word : `[${word}]`
  })
  const options = command.options.length === 0 ? [] : ['[OPTION...]']
  return [['nexus-backup', command.name, ...operands, ...options].join(' ')]
}

function environmentPairs(): [string, string][] {
  const own = globalOptions.flatMap(({ name, environment: variable }): [string, string][] =>
    variable === undefined ? [] : [[variable, `Sets --${name}; the option wins`]],
  )
  return [...own, ...environment.map(({ name, means }): [string, string] => [name, means])]
}

function optionPairs(options: readonly OptionDeclaration[]): string {
  return pairs(
    options.map(option => {
      const name = option.choices?.join('|') ?? option.value
      const value = name === undefined ? '' : option.optionalValue === true ? ` [${name}]` : ` ${name}`
      const notes = [
        option.default === undefined ? '' : ` (default ${option.default})`,
        option.environment === undefined ? '' : ` [${option.environment}]`,
      ]
      return [`--${option.name}${value}`, `${option.description}${notes.join('')}`]
    }),
  )
}

function examples(list: CommandDeclaration['examples']): string {
  return list.map(({ does, command }) => `  # ${does}\n  ${command}\n`).join('')
}

function sections(list: readonly (readonly [string, string])[]): string {
  return list
    .filter(([, body]) => body !== '')
    .map(([title, body]) => (title === '' ? body : `${title}:\n${body}`))
    .join('\n')
}

/** Terms on the left, their descriptions wrapped on the right; a long term has a line of its own. */
function pairs(list: readonly (readonly [string, string])[]): string {
  const column = Math.min(24, Math.max(0, ...list.map(([term]) => term.length)) + 4)
  return list
    .map(([term, description]) => {
      const text = wrap(description, column)
      if (term.length + 4 > column) return `  ${term}\n${text}`
      return `  ${term}`.padEnd(column) + text.slice(column)
    })
    .join('')
}

function wrap(text: string, indent: number): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && indent + line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].map(part => `${' '.repeat(indent)}${part}\n`).join('')
}
