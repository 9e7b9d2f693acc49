import { basename, extname } from 'node:path'
import { isSourceName } from '../repository/layout.js'

/** Why a name cannot be a source's, or undefined when it can (design section 5: it is a directory of the repository). */
export function sourceNameProblem(name: string): string | undefined {
  if (isSourceName(name)) return undefined
  return `'${name}' cannot be the name of a source: up to 63 lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit, not like the id of a backup or a file of the repository`
}

/** The name a database file gives its source: itsm_nexus.db is itsm_nexus. */
export function nameOfFile(path: string): string {
  return basename(path, extname(path))
}
