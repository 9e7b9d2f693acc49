import type { Settings } from '../config/settings.js'
import type { Context } from '../context.js'
import type { Journal } from '../journal/types.js'
import type { CommandIo } from './io.js'
import type { Outcome } from './outcome.js'
import type { OptionValues } from './parsed.js'

/** Everything a handler works with. What is costly is made when it is first asked for. */
export interface Invocation {
  io: CommandIo
  operands: readonly string[]
  options: OptionValues
  /** The command line as it was given. */
  words: readonly string[]
  /** Questions may be asked: a terminal on stdin and stderr, and no `--json`. */
  interactive: boolean
  settings(): Promise<Settings>
  context(): Promise<Context>
  /** Keeps nothing on a dry run. */
  journal(): Promise<Journal>
  /** A line for the operator on a terminal, or with `--verbose`; never with `--json` or `--quiet`. */
  say(text: string): void
  warn(message: string): void
}

/** A command: thin, it turns options into a request and a result into an outcome. */
export type Handler = (invocation: Invocation) => Promise<Outcome>
