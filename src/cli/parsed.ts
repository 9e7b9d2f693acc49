import { resolve } from 'node:path'
import type { CommandDeclaration } from './declaration/types.js'

/** Option values by long name, as text; a switch is true. */
export type OptionValues = Readonly<Record<string, string | true | undefined>>

/** A command line that was understood. */
export interface ParsedCommand {
  command: CommandDeclaration
  operands: readonly string[]
  options: OptionValues
}

/** The text of an option that takes a value. */
export function textOption(options: OptionValues, name: string): string | undefined {
  const value = options[name]
  return typeof value === 'string' ? value : undefined
}

/** Whether a switch is on. */
export function switchOption(options: OptionValues, name: string): boolean {
  return options[name] === true
}

/** A count that the parser has checked already. */
export function countOption(options: OptionValues, name: string): number | undefined {
  const value = textOption(options, name)
  return value === undefined ? undefined : Number(value)
}

/** The flags that say which configuration, repository and source are meant, for a command to paste anywhere. */
export function placeFlags(options: OptionValues, cwd: string): [name: string, value: string][] {
  return ['config', 'repo', 'state', 'sqlite', 'name'].flatMap(name => {
    const value = textOption(options, name)
    if (value === undefined) return []
    return [[`--${name}`, name === 'name' ? value : resolve(cwd, value)]]
  })
}
