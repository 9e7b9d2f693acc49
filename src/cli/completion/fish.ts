import { globalOptions } from '../declaration/globals.js'
import type { OptionDeclaration } from '../declaration/types.js'
import { type CompletionEntry, completionEntries } from './words.js'

/** A completion script for fish. */
export function fishCompletion(): string {
  const globals = new Set(globalOptions.map(option => option.name))
  const lines = completionEntries().flatMap(entry => {
    const when = condition(entry)
    const own = entry.path === '' ? globalOptions : entry.options.filter(option => !globals.has(option.name))
    const always = entry.path === '' ? '' : ` -n ${when}`
    return [
      ...entry.words.map(
        ({ word, description }) => `complete -c nexus-backup -f -n ${when} -a ${quote(word)} -d ${quote(description)}`,
      ),
      ...own.map(option => `complete -c nexus-backup${always} ${optionWords(option)}`),
    ]
  })
  return `# fish completion for nexus-backup\n${lines.join('\n')}\n`
}

function condition({ path, words }: CompletionEntry): string {
  if (path === '') return '__fish_use_subcommand'
  const seen = path.split(' ').map(word => `__fish_seen_subcommand_from ${word}`)
  const next = words.map(({ word }) => word).join(' ')
  return quote([...seen, ...(next === '' ? [] : [`not __fish_seen_subcommand_from ${next}`])].join('; and '))
}

function optionWords({ name, value, description, choices, suggestions, complete }: OptionDeclaration): string {
  const parts = [`-l ${name}`, `-d ${quote(description)}`]
  if (value !== undefined) parts.push('-r')
  const words = choices ?? suggestions
  if (words !== undefined) parts.push(`-f -a ${quote(words.join(' '))}`)
  if (complete === 'file') parts.push('-F')
  if (complete === 'directory') parts.push("-f -a '(__fish_complete_directories)'")
  return parts.join(' ')
}

function quote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
