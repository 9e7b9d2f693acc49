import type { NexusError } from '../errors.js'
import type { Paint } from './output/colour.js'

/** What a command has to say when it ran, also when part of it failed. */
export interface Outcome {
  /** The JSON document; `format_version` is put in front. */
  document: object
  /** The same for people; ends with a line break, or is empty. */
  text(paint: Paint): string
  /** Print the text also without a terminal: it is what was asked for, not a report of success. */
  always: boolean
  /** Errors for stderr; the last one is the run's own and decides the exit status. */
  failures: readonly NexusError[]
}
