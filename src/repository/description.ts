import { randomUUID } from 'node:crypto'
import * as v from 'valibot'
import { errnoOf, messageOf, NexusError } from '../errors.js'
import { checksumsLimit, parseChecksums } from './checksums.js'
import { parseOutsideJson, prettyJson } from './json.js'
import { checksumsFile, isSourceName, quoted, repositoryFile } from './layout.js'
import { FORMAT } from './manifest.js'
import { sha256Of } from './root-files.js'
import { isBucket } from './storage/s3/settings.js'
import type { Storage } from './storage/storage.js'

/** Bytes nexus-backup.json may have. */
const descriptionLimit = 64 * 1024

const descriptionSchema = v.looseObject({
  format: v.literal(FORMAT),
  id: v.pipe(v.string(), v.uuid()),
  created: v.pipe(v.string(), v.isoTimestamp()),
  tool: v.pipe(v.string(), v.maxLength(256)),
  /** How writers exclude each other, where it is not the usual way of the store. */
  locking: v.optional(v.pipe(v.string(), v.maxLength(64))),
})

/** What a repository says of itself. */
export type Description = Pick<v.InferOutput<typeof descriptionSchema>, 'id' | 'locking'>

/**
 * The bytes of a new repository's nexus-backup.json, with an id of its own.
 * @param locking how its writers exclude each other, where it is not the usual way of the store
 */
export function newDescription(now: Date, locking?: string): Buffer {
  const usual = { format: FORMAT, id: randomUUID(), created: now.toISOString(), tool: 'nexus-backup' }
  return prettyJson(locking === undefined ? usual : { ...usual, locking })
}

/**
 * Reads nexus-backup.json.
 * @throws NexusError not-found where there is no repository, damage when it is broken or was taken out of one, failed for
 *   a format we do not know
 */
export async function describeRepository(storage: Storage): Promise<Description> {
  const bytes = await readDescription(storage)
  try {
    return describe(bytes, storage.location)
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind !== 'failed') throw error
    if (await isAsWritten(storage, bytes)) throw error
    throw damaged(storage.location, `it names a format, but its SHA-256 differs from ${checksumsFile}`, error)
  }
}

async function readDescription(storage: Storage): Promise<Buffer> {
  try {
    return await storage.readSmall(repositoryFile, descriptionLimit)
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'not-found') {
      if (await holdsSources(storage)) throw damaged(storage.location, 'it is missing', error)
      throw missing(storage.location, `it has no ${repositoryFile}`, error)
    }
    if (error instanceof NexusError && errnoOf(error.cause) === 'ENOTDIR') {
      throw missing(storage.location, 'it is not a directory', error)
    }
    throw error
  }
}

/** Whether there is something that only a repository has: an interrupted init leaves nothing in its root but files. */
async function holdsSources(storage: Storage): Promise<boolean> {
  const found = await storage.list('')
  if (!found.some(({ name }) => name === checksumsFile)) return false
  return found.some(({ name, kind }) => kind === 'directory' && isSourceName(name))
}

/** Whether the root's checksums vouch for the bytes; also when they cannot be read and so contradict nothing. */
async function isAsWritten(storage: Storage, bytes: Buffer): Promise<boolean> {
  try {
    const sums = parseChecksums(await storage.readSmall(checksumsFile, checksumsLimit), checksumsFile)
    return sums.get(repositoryFile) === sha256Of(bytes)
  } catch {
    return true
  }
}

/** The description of a repository, where we understand it. */
function describe(bytes: Buffer, location: string): Description {
  const value = parsed(bytes, location)
  const format = typeof value === 'object' && value !== null && 'format' in value ? value.format : undefined
  if (typeof format === 'number' && format !== FORMAT) {
    throw new NexusError(
      'failed',
      'repository_format_unknown',
      `the repository ${location} has format ${format}; this version understands ${FORMAT}`,
      {
        hint: 'use the version of nexus-backup that wrote it, or a newer one',
      },
    )
  }
  const result = v.safeParse(descriptionSchema, value, { abortEarly: true })
  if (result.success) return result.output
  const [issue] = result.issues
  throw damaged(location, `${quoted(v.getDotPath(issue) ?? 'the whole')} is not as it must be`)
}

function parsed(bytes: Buffer, location: string): unknown {
  try {
    return parseOutsideJson(bytes)
  } catch (cause) {
    throw damaged(location, messageOf(cause), cause)
  }
}

function damaged(location: string, problem: string, cause?: unknown): NexusError {
  return new NexusError('damage', 'repository_damaged', `${repositoryFile} of ${location} is damaged: ${problem}`, {
    cause,
    hint: `the backups in it can be recovered without it: read ${location}/RECOVER.txt`,
  })
}

/** What helps every command that needs a repository; who makes one adds how. */
export function whereItMayBe(location: string): string {
  return isBucket(location)
    ? 'are bucket and prefix right? Name the repository with --repo s3://BUCKET/PREFIX, or in the configuration'
    : 'is the disk mounted (findmnt)? Name the repository with --repo DIR, or in the configuration'
}

/** There is no repository. */
export function missing(location: string, why: string, cause: unknown): NexusError {
  return new NexusError('not-found', 'repository_missing', `no repository at ${location}: ${why}`, {
    cause,
    hint: whereItMayBe(location),
  })
}
