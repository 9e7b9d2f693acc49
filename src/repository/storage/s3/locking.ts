import { NexusError } from '../../../errors.js'
import { quoted } from '../../layout.js'
import type { Locking } from './settings.js'

/**
 * How writers exclude each other where a repository says one thing and the configuration perhaps another. The repository
 * is right; the problem is for whoever is about to write: those who exclude each other in different ways do not exclude
 * each other at all.
 * @param recorded by the repository; undefined: the usual way
 * @param configured undefined where the configuration says nothing
 */
export function agreedLocking(
  location: string,
  recorded: string = 'conditional',
  configured: Locking | undefined = undefined,
): { locking: Locking; problem: NexusError | undefined } {
  if (recorded !== 'conditional' && recorded !== 'single-writer') {
    return { locking: 'conditional', problem: unknown(location, recorded) }
  }
  const differs = configured !== undefined && configured !== recorded
  return { locking: recorded, problem: differs ? otherwise(location, recorded, configured) : undefined }
}

function otherwise(location: string, recorded: Locking, configured: Locking): NexusError {
  const message = `${location} was made with locking: ${recorded}, and the configuration says ${configured}`
  return new NexusError('configuration', 'locking_differs', message, {
    hint: `write "locking: ${recorded}" below s3 of this repository, or leave the line out. A repository keeps its locking; for ${configured} ${intoAnother(location, configured)}`,
  })
}

/** How backups come into a repository with another locking, in words: the repository itself never changes it. */
export function intoAnother(location: string, locking: Locking): string {
  return `describe a repository NAME under another prefix with "locking: ${locking}", have nothing write into this one any more, and bring the backups over: nexus-backup copy --from ${location} --to NAME --init`
}

function unknown(location: string, recorded: string): NexusError {
  const message = `${location} is locked in a way that this version does not know: ${quoted(recorded)}`
  return new NexusError('failed', 'locking_unknown', message, {
    hint: 'use the version of nexus-backup that made it, or a newer one; it can be read with this one',
  })
}
