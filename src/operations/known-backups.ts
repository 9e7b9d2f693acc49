import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import type { Context } from '../context.js'
import { errnoOf, messageOf, NexusError } from '../errors.js'
import { canonicalJson } from '../repository/json.js'
import type { Manifest } from '../repository/manifest.js'
import { readStateFile, writeStateFile } from './state-file.js'
import { withStateLock } from './state-lock.js'

const directory = 'known'

const knownSchema = v.record(
  v.string(),
  v.object({
    sequence: v.number(),
    /** SHA-256 over the canonical JSON of the manifest as it is stored. */ manifest: v.string(),
  }),
)

/** Encrypted backups that this host has seen, by id. */
export type KnownBackups = v.InferOutput<typeof knownSchema>

/** What a host remembers of a backup. */
export function memoryOf(stored: Manifest): KnownBackups[string] {
  return {
    sequence: stored.sequence,
    manifest: createHash('sha256').update(canonicalJson(stored)).digest('hex'),
  }
}

/**
 * What this host remembers of a source's encrypted backups: a repository alone cannot show that a whole backup was taken
 * away, or an older state of everything put in its place. Only a memory: what cannot be read was never known.
 */
export async function readKnown(
  { stateDirectory }: Pick<Context, 'stateDirectory'>,
  repository: string,
  source: string,
): Promise<KnownBackups> {
  try {
    const text = await readStateFile(join(stateDirectory, directory, repository, `${source}.json`))
    const result = v.safeParse(knownSchema, text === undefined ? {} : JSON.parse(text))
    return result.success ? result.output : {}
  } catch (error) {
    if (errnoOf(error) === undefined && !(error instanceof SyntaxError)) throw error
    return {}
  }
}

/** Sources of a repository of which this host remembers backups. */
export async function knownSources(
  { stateDirectory }: Pick<Context, 'stateDirectory'>,
  repository: string,
): Promise<string[]> {
  try {
    const names = await readdir(join(stateDirectory, directory, repository))
    return names.flatMap(name => (name.endsWith('.json') ? [name.slice(0, -'.json'.length)] : [])).sort()
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return []
  }
}

/**
 * Changes what is remembered of a source, while no other run does. A state directory that cannot be written is said, and
 * stops nothing.
 * @param change may be asked more than once
 */
export async function changeKnown(
  context: Context,
  repository: string,
  source: string,
  change: (known: KnownBackups) => KnownBackups,
): Promise<void> {
  const changed = async (): Promise<string | undefined> => {
    const before = await readKnown(context, repository, source)
    const after = change(before)
    return canonicalJson(before) === canonicalJson(after) ? undefined : `${JSON.stringify(after)}\n`
  }
  if ((await changed()) === undefined) return
  const { stateDirectory } = context
  const names = [directory, repository]
  try {
    await withStateLock(stateDirectory, names, async () => {
      const text = await changed()
      if (text !== undefined) await writeStateFile(stateDirectory, names, `${source}.json`, text)
    })
  } catch (error) {
    if (errnoOf(error) === undefined && !(error instanceof NexusError)) throw error
    context.warn(`${source}: the state directory cannot remember its backups: ${messageOf(error)}`)
  }
}
