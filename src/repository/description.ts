import { randomUUID } from 'node:crypto'
import * as v from 'valibot'
import { errnoOf, messageOf, NexusError } from '../errors.js'
import { parseOutsideJson, prettyJson } from './json.js'
import { quoted, repositoryFile } from './layout.js'
import { FORMAT } from './manifest.js'
import type { LocalStorage } from './storage/local.js'

/** Bytes nexus-backup.json may have. */
const descriptionLimit = 64 * 1024

const descriptionSchema = v.looseObject({
  format: v.literal(FORMAT),
  id: v.pipe(v.string(), v.uuid()),
  created: v.pipe(v.string(), v.isoTimestamp()),
  tool: v.pipe(v.string(), v.maxLength(256)),
})

/** The bytes of a new repository's nexus-backup.json, with an id of its own. */
export function newDescription(now: Date): Buffer {
  return prettyJson({ format: FORMAT, id: randomUUID(), created: now.toISOString(), tool: 'nexus-backup' })
}

/**
 * Reads nexus-backup.json and returns the repository's id.
 * @throws NexusError not-found without it, damage when it is broken, failed for a format we do not know
 */
export async function readRepositoryId(storage: LocalStorage): Promise<string> {
  return describe(await readDescription(storage), storage.location)
}

async function readDescription(storage: LocalStorage): Promise<Buffer> {
  try {
    return await storage.readSmall(repositoryFile, descriptionLimit)
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'not-found') {
      throw missing(storage.location, `it has no ${repositoryFile}`, error)
    }
    if (error instanceof NexusError && errnoOf(error.cause) === 'ENOTDIR') {
      throw missing(storage.location, 'it is not a directory', error)
    }
    throw error
  }
}

/** The id of a repository whose description we understand. */
function describe(bytes: Buffer, location: string): string {
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
  if (result.success) return result.output.id
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

/** There is no repository. */
export function missing(location: string, why: string, cause: unknown): NexusError {
  return new NexusError('not-found', 'repository_missing', `no repository at ${location}: ${why}`, {
    cause,
    hint: `is the disk mounted? To make a new repository there: nexus-backup create --repo ${location} --init`,
  })
}
