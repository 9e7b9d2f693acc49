import { nearest } from '../config/nearest.js'
import type { RepositorySettings } from '../config/settings.js'
import { NexusError } from '../errors.js'
import { openRepository } from '../repository/open.js'
import type { SourceRoom } from '../repository/types.js'

/**
 * The rooms that sources have in these repositories, copies left out; only those of `source` when one is named.
 * @throws NexusError not-found `source_not_found` when a named one has none, with the nearest name that has
 */
export async function roomsOf(
  repositories: readonly RepositorySettings[],
  source: string | undefined,
): Promise<SourceRoom[]> {
  const rooms: SourceRoom[] = []
  for (const place of repositories) {
    const repository = await openRepository(place)
    for (const name of await repository.sources()) {
      if (place.copyOf?.has(name) !== true) rooms.push(repository.source(name))
    }
  }
  if (source === undefined) return rooms
  const named = rooms.filter(({ name }) => name === source)
  if (named.length === 0) throw unknownSource(source, repositories, [...new Set(rooms.map(({ name }) => name))])
  return named
}

function unknownSource(source: string, repositories: readonly RepositorySettings[], names: string[]): NexusError {
  const where = repositories.map(({ path }) => path).join(', ')
  const meant = nearest(source, names)
  return new NexusError(
    'not-found',
    'source_not_found',
    `there are no backups of a source ${JSON.stringify(source)} in ${where}`,
    {
      hint: meant === undefined ? hintOf(names) : `did you mean ${meant}?`,
    },
  )
}

function hintOf(names: string[]): string {
  return names.length === 0
    ? 'nothing was backed up there yet: nexus-backup create'
    : `there are backups of: ${names.join(', ')}`
}
