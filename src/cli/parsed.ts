import { resolve } from 'node:path'
import { globalOptions } from './declaration/globals.js'
import type { CommandDeclaration } from './declaration/types.js'

/** Option values by long name, as text; a switch is true, an option that may be repeated a list. */
export type OptionValues = Readonly<Record<string, string | true | readonly string[] | undefined>>

/** A command line that was understood. */
export interface ParsedCommand {
  command: CommandDeclaration
  operands: readonly string[]
  options: OptionValues
  /** The command line as it was given. */
  words: readonly string[]
}

/** The text of an option that takes a value. */
export function textOption(options: OptionValues, name: string): string | undefined {
  const value = options[name]
  return typeof value === 'string' ? value : undefined
}

/** The texts of an option that may be repeated, in their order. */
export function listOption(options: OptionValues, name: string): readonly string[] {
  const value = options[name]
  return typeof value === 'object' ? value : []
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
  const places = globalOptions.filter(({ place }) => place === true)
  return places.flatMap(({ name }) => {
    const value = textOption(options, name)
    if (value === undefined) return []
    const isPath = name !== 'name' && !/^[a-z0-9]+:\/\//i.test(value)
    return [[`--${name}`, isPath ? resolve(cwd, value) : value]]
  })
}
