import { completionCommand } from './completion.js'
import { configCommand } from './config.js'
import { copyCommand } from './copy.js'
import { createCommand } from './create.js'
import { diffCommand } from './diff.js'
import { globalOptions } from './globals.js'
import { keysCommand } from './keys.js'
import { listCommand } from './list.js'
import { pitrCommand } from './pitr.js'
import { pruneCommand } from './prune.js'
import { restoreCommand } from './restore.js'
import type { CommandDeclaration, OptionDeclaration } from './types.js'
import { verifyCommand } from './verify.js'

/** Every command, the six in the order of the contract, then the further ones. */
export const commands: readonly CommandDeclaration[] = [
  createCommand,
  listCommand,
  verifyCommand,
  restoreCommand,
  pruneCommand,
  pitrCommand,
  diffCommand,
  copyCommand,
  keysCommand,
  configCommand,
  completionCommand,
]

/** The commands that do something by themselves: `pitr points` rather than `pitr`. */
export function leafCommands(): CommandDeclaration[] {
  return commands.flatMap(command => command.subcommands ?? [command])
}

/** Every option there is, those of all commands together: one name may stand several times. */
export function everyOption(): OptionDeclaration[] {
  const all = commands.flatMap(command => [command, ...(command.subcommands ?? [])])
  return [...globalOptions, ...all.flatMap(({ options }) => options)]
}

/** A command or subcommand by its words. */
export function findCommand(name: string): CommandDeclaration | undefined {
  return [...commands, ...leafCommands()].find(command => command.name === name)
}
