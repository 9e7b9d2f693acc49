import type { RepositorySettings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import { whereItMayBe } from '../../repository/description.js'
import { openRepository } from '../../repository/open.js'
import type { Repository } from '../../repository/types.js'
import { shellQuoted } from '../shell.js'

/** Opens a repository that backups are made in. @throws NexusError not-found `repository_missing` with the command that makes it */
export async function openToWrite(place: RepositorySettings): Promise<Repository> {
  try {
    return await openRepository(place)
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'repository_missing') throw error
    const command = `nexus-backup create --repo ${shellQuoted(place.path)} --init`
    throw new NexusError(error.kind, error.code, error.message, {
      hint: `${whereItMayBe(place.path)}. To make a new repository there: ${command}`,
      cause: error.cause,
    })
  }
}
