import { shellQuoted } from '../operations/shell.js'
import { commands } from './declaration/index.js'

const words = commands.map(({ name }) => name).join('|')
const command = new RegExp(`nexus-backup (?=(?:${words})\\b)`, 'g')

/**
 * Commands in a message, completed with the configuration, repository and source that this run was given, so that they
 * can be pasted as they are. Flags that a command has already are left out.
 */
export function pasteable(text: string, flags: readonly (readonly [name: string, value: string])[]): string {
  const starts = [...text.matchAll(command)].map(({ index, 0: { length } }) => index + length)
  return [0, ...starts]
    .map((from, at) => {
      const part = text.slice(from, starts[at])
      return at === 0 ? part : `${flagsFor(part, flags)}${part}`
    })
    .join('')
}

function flagsFor(command: string, flags: readonly (readonly [name: string, value: string])[]): string {
  const missing = flags.filter(([name]) => !new RegExp(`${name}[ =]`).test(command))
  return missing.map(([name, value]) => `${name} ${shellQuoted(value)} `).join('')
}
