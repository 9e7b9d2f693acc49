import { globalOptions } from '../declaration/globals.js'
import { commands } from '../declaration/index.js'
import type { CommandDeclaration, OptionDeclaration } from '../declaration/types.js'

/** What may follow one command. */
export interface CompletionEntry {
  /** The words so far, `` for none. */
  path: string
  words: { word: string; description: string }[]
  options: readonly OptionDeclaration[]
  /** Whether a plain operand is a word out of `words` alone. */
  closed: boolean
}

/** Every place in the command line with what may stand there, from the declaration. */
export function completionEntries(): CompletionEntry[] {
  const top = { path: '', words: commands.map(wordOf), options: globalOptions, closed: true }
  return [top, ...commands.flatMap(command => [command, ...(command.subcommands ?? [])]).map(entryOf)]
}

function entryOf(command: CommandDeclaration): CompletionEntry {
  const choices = command.arguments.flatMap(argument => argument.choices ?? [])
  const words = command.subcommands?.map(wordOf) ?? choices.map(word => ({ word, description: '' }))
  return { path: command.name, words, options: [...command.options, ...globalOptions], closed: words.length > 0 }
}

function wordOf(command: CommandDeclaration): { word: string; description: string } {
  return { word: command.name.split(' ').at(-1) ?? command.name, description: command.summary }
}
