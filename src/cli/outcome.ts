import type { NexusError } from '../errors.js'
import type { Paint } from './output/colour.js'

/** One of many results of the same kind. */
export interface Row {
  /** As it stands in the document. */
  json(): object
  /** The same for people: a line, or several. */
  text(paint: Paint): string
}

/** What a command has to say when it ran, also when part of it failed. */
export interface Outcome {
  /** The JSON document; `format_version` is put in front. */
  document: object
  /** The same for people; ends with a line break, or is empty. */
  text(paint: Paint): string
  /** Results too many for one text, which stand before it; the document has them as a last field of that name. */
  rows?: { name: string; items(): Iterable<Row> }
  /** Print the text also without a terminal: it is what was asked for, not a report of success. */
  always: boolean
  /** Errors for stderr; the last one is the run's own and decides the exit status. */
  failures: readonly NexusError[]
}
