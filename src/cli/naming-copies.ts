import type { Settings } from '../config/settings.js'
import { NexusError } from '../errors.js'

/** Commands that can read a copy just as well. */
const readers: ReadonlySet<string> = new Set(['list', 'verify', 'restore', 'pitr points', 'pitr restore'])
/** A repository that is gone or cannot be read, or a backup in it that is damaged. */
const helped = /^(repository_|chain_damaged$|backup_damaged$|part_missing$)/

/** An error of a repository with the copies that the configuration knows of in its hint: the way out at 3 a.m. */
export async function namingCopies(
  error: unknown,
  command: string,
  settings: () => Promise<Settings>,
): Promise<unknown> {
  if (!(error instanceof NexusError) || !readers.has(command) || !helped.test(error.code)) return error
  const places = new Set((await settings()).sources.flatMap(({ copies }) => copies.map(copy => copy.repository.path)))
  if (places.size === 0) return error
  const copies = [...places].map(place => `--repo ${place}`).join(' or ')
  const before = error.hint === undefined ? '' : `${error.hint}; `
  return new NexusError(error.kind, error.code, error.message, {
    hint: `${before}the copy can be used instead, with ${copies}`,
    cause: error.cause,
  })
}
