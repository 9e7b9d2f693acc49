/** What the shell may complete in a place where a value stands; `source`: names of the configured sources. */
export type Completion = 'file' | 'directory' | 'source' | 'none'

/** How a value is checked before a handler sees it; `text` takes anything. */
export type ValueKind =
  | 'text'
  | 'count'
  | 'seconds'
  | 'duration'
  | 'date'
  | 'time'
  | 'lsn'
  | 'xid'
  | 'timeline'
  | 'mapping'

/** One option: the parser, `--help`, the man page and completion all come from this. */
export interface OptionDeclaration {
  /** The long flag without its dashes. */
  name: string
  /** Name of the value in help and man pages; an option without one is a switch. */
  value?: string
  /** The option may be given without its value. */
  optionalValue?: true
  description: string
  choices?: readonly string[]
  /** Words worth completing where other values are allowed too. */
  suggestions?: readonly string[]
  /** May be given several times; the value is then a list. */
  repeatable?: true
  kind?: ValueKind
  /** Shown, not applied: the default is known to whoever reads the option. */
  default?: string
  /** Environment variable that sets it; the flag wins. */
  environment?: string
  complete?: Completion
  /** Says where configuration, repository, source or key lie: commands in hints repeat it. */
  place?: true
}

export interface ArgumentDeclaration {
  name: string
  required: boolean
  variadic: boolean
  description: string
  choices?: readonly string[]
  complete?: Completion
}

export interface ExampleDeclaration {
  /** What it does, in words of the operator. */
  does: string
  /** A command line worth pasting. */
  command: string
}

/** One exit status of a command, in words that fit that command. */
export interface ExitDeclaration {
  status: number
  means: string
}

export interface CommandDeclaration {
  /** Words after `nexus-backup`, such as `create` or `pitr points`. */
  name: string
  /** One line for lists of commands. */
  summary: string
  /** Paragraphs for `--help`. */
  description: readonly string[]
  /** Forms of the command line when `ARGUMENTS [OPTIONS]` does not tell enough. */
  usage?: readonly string[]
  /** The six commands are `main`; others are never needed to back up or recover. */
  group: 'main' | 'further'
  arguments: readonly ArgumentDeclaration[]
  options: readonly OptionDeclaration[]
  examples: readonly ExampleDeclaration[]
  exits: readonly ExitDeclaration[]
  /** A command with subcommands does nothing by itself. */
  subcommands?: readonly CommandDeclaration[]
}

export interface EnvironmentDeclaration {
  name: string
  means: string
}

export interface FileDeclaration {
  path: string
  means: string
}
