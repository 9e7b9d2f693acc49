import { shellQuoted } from '../operations/shell.js'

const command = /nexus-backup (?=(?:create|list|verify|restore|prune|pitr|config)\b)/g

/**
 * Commands in a message, completed with the configuration, repository and source that this run was given, so that they
 * can be pasted as they are. Flags that the text has already are left out.
 */
export function pasteable(text: string, flags: readonly (readonly [name: string, value: string])[]): string {
  const missing = flags.filter(([name]) => !text.includes(`${name} `))
  if (missing.length === 0) return text
  const words = missing.flatMap(([name, value]) => [name, shellQuoted(value)]).join(' ')
  return text.replace(command, match => `${match}${words} `)
}
