import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { repositoryFile } from '../../repository/layout.js'
import type { Repository } from '../../repository/types.js'
import { readStateFile, writeStateFile } from '../state-file.js'
import { guarded, readPin, writeEpochPin } from './host-keys.js'

/** Below the state directory: the encrypted repository that this host last knew in each place. */
const names = ['keys', 'places']

const schema = v.object({ location: v.string(), repository: v.pipe(v.string(), v.uuid()) })

type State = Pick<Context, 'stateDirectory'>
type Place = Pick<Repository, 'id' | 'location'>

/** Remembers an epoch of a repository as the last that this host has seen, and where it lies. */
export async function writePin(
  context: State,
  repository: Place,
  epoch: { id: string; signing_key: Buffer },
): Promise<void> {
  await writeEpochPin(context, repository.id, epoch)
  await rememberPlace(context, repository)
}

/** Remembers which encrypted repository lies in a place: all else that this host knows of one goes by the id in it. */
export async function rememberPlace(context: State, { id, location }: Place): Promise<void> {
  if ((await readPlace(context, location)) === id) return
  const text = `${JSON.stringify({ location, repository: id })}\n`
  const write = () => writeStateFile(context.stateDirectory, names, fileOf(location), text)
  await guarded(pathOf(context, location), write)
}

/** Forgets a place in which a repository was made anew. */
export async function forgetPlace(context: State, { location }: Place): Promise<void> {
  await guarded(pathOf(context, location), () => rm(pathOf(context, location), { force: true }))
}

/** Whether this host knows an encrypted repository in this place; opens nothing. */
export function isPlaceKnown(context: State, { location }: Place): boolean {
  return existsSync(pathOf(context, location))
}

/**
 * Why keys in a repository must not be believed at first sight: this host knows another encrypted repository in its place,
 * and never saw this one. Whoever may change files could otherwise give a repository another id, and this host would know
 * nothing of it any more.
 * @returns undefined where there is no reason
 */
export async function placeProblem(context: State, repository: Place): Promise<string | undefined> {
  const known = await readPlace(context, repository.location)
  if (known === undefined || known === repository.id) return undefined
  if ((await readPin(context, repository.id)) !== undefined) return undefined
  return `${repositoryFile} says that it is the repository ${repository.id}, and this host knows the encrypted repository ${known} there`
}

/** @throws NexusError damage `repository_replaced` as `placeProblem` tells */
export async function assertSamePlace(context: State, repository: Place): Promise<void> {
  const problem = await placeProblem(context, repository)
  if (problem === undefined) return
  const { location } = repository
  throw new NexusError('damage', 'repository_replaced', `${location} was replaced: ${problem}`, {
    hint: `nothing was written; find out who did it: nexus-backup-recovery(7), suspected intruder; when it was made anew on purpose, move ${pathOf(context, location)} away and run this again`,
  })
}

/** A memory that cannot be read knows nothing. */
async function readPlace(context: State, location: string): Promise<string | undefined> {
  const text = await guarded(pathOf(context, location), () => readStateFile(pathOf(context, location)))
  const result = v.safeParse(schema, parsed(text))
  return result.success && result.output.location === location ? result.output.repository : undefined
}

function parsed(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? 'null')
  } catch {
    return undefined
  }
}

function fileOf(location: string): string {
  return `${createHash('sha256').update(location).digest('hex').slice(0, 32)}.json`
}

function pathOf({ stateDirectory }: State, location: string): string {
  return join(stateDirectory, ...names, fileOf(location))
}
