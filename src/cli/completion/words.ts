import { globalOptions } from '../declaration/globals.js'
import { commands } from '../declaration/index.js'
import type { CommandDeclaration, Completion, OptionDeclaration } from '../declaration/types.js'

/** What may follow one command. */
export interface CompletionEntry {
  /** The words so far, `` for none. */
  path: string
  words: { word: string; description: string }[]
  options: readonly OptionDeclaration[]
  /** What a plain operand is, where it is none of `words`. */
  operand: Completion
}

/** Every place in the command line with what may stand there, from the declaration. */
export function completionEntries(): CompletionEntry[] {
  const top: CompletionEntry = { path: '', words: commands.map(wordOf), options: globalOptions, operand: 'none' }
  return [top, ...commands.flatMap(command => [command, ...(command.subcommands ?? [])]).map(entryOf)]
}

/** The options that take a value, each once: what follows one of them is no command. */
export function valuedOptions(entries: readonly CompletionEntry[]): OptionDeclaration[] {
  const options = entries.flatMap(entry => entry.options).filter(option => option.value !== undefined)
  return [...new Map(options.map(option => [option.name, option])).values()]
}

function entryOf(command: CommandDeclaration): CompletionEntry {
  const choices = command.arguments.flatMap(argument => argument.choices ?? [])
  const words = command.subcommands?.map(wordOf) ?? choices.map(word => ({ word, description: '' }))
  const operand = command.arguments.find(({ complete }) => complete !== undefined)?.complete ?? 'none'
  return { path: command.name, words, options: [...command.options, ...globalOptions], operand }
}

function wordOf(command: CommandDeclaration): { word: string; description: string } {
  return { word: command.name.split(' ').at(-1) ?? command.name, description: command.summary }
}
