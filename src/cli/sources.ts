import { nearest } from '../config/nearest.js'
import type { Settings, SourceSettings } from '../config/settings.js'
import { NexusError } from '../errors.js'
import { shellQuoted } from '../operations/shell.js'

/** The configured source of a name. Throws `not-found` with the nearest name there is. */
export function sourceNamed(settings: Settings, name: string): SourceSettings {
  const source = settings.sources.find(candidate => candidate.name === name)
  if (source !== undefined) return source
  const names = settings.sources.map(candidate => candidate.name)
  const where = settings.file === null ? 'on the command line' : `in ${settings.file}`
  throw new NexusError('not-found', 'source_not_found', `no source '${name}' ${where}`, { hint: hintFor(name, names) })
}

function hintFor(name: string, names: readonly string[]): string {
  const meant = nearest(name, names)
  if (meant !== undefined) return `did you mean '${meant}'?`
  if (names.length > 0) return `the sources are: ${names.join(', ')}`
  return `name the database with --sqlite FILE --name ${shellQuoted(name)}, or configure it (nexus-backup-config(5))`
}

/** The sources named, in that order and each once; all of them when none is named. Throws `usage` when there is none. */
export function chosenSources(settings: Settings, names: readonly string[]): SourceSettings[] {
  if (names.length > 0) return [...new Set(names)].map(name => sourceNamed(settings, name))
  if (settings.sources.length > 0) return settings.sources
  throw new NexusError('usage', 'no_sources', 'there is no source: none is configured and none is given', {
    hint: 'give --sqlite FILE, or write a configuration (nexus-backup-config(5))',
  })
}
