import { errnoOf, messageOf, NexusError } from '../../errors.js'
import type { Tree } from '../../image/tree/tree.js'
import { bySequence } from '../../policy/chains.js'
import type { Manifest } from '../../repository/manifest.js'
import type { FilesCapture } from '../../sources/files/capture.js'
import type { EmptiedPlace } from '../../sources/files/emptied-places.js'
import type { TreeCapture, TreeOutcome } from '../../sources/tree-capture.js'
import { shown } from '../../system/file-names.js'
import { shellQuoted } from '../shell.js'
import type { BackUpTask } from './back-up.js'
import { knownTree } from './chain-digests.js'

/** Fact in a manifest: the operator said that what is gone with its file system is gone for good. */
const EMPTIED_ALLOWED = 'emptied_allowed'

/** What the comparison with earlier backups needs, of a backup that is made or only planned. */
export type Comparison = Pick<BackUpTask, 'context' | 'room' | 'source' | 'request' | 'history'>

/**
 * Refuses a backup in which the files of a whole file system would be missing, for a disk that is not mounted looks like
 * an empty directory. Compared with the last complete backup, and with a later one that is not complete.
 *
 * @returns the capture, which tells what is missing where the operator allowed it
 * @throws NexusError `refused` (`source_emptied`)
 */
export async function withNothingEmptied(task: Comparison, capture: FilesCapture): Promise<TreeCapture> {
  const { source, request } = task
  const told: string[] = []
  for (const manifest of comparable(task)) {
    // Nothing was mounted or unmounted since: what is gone was deleted.
    if (manifest.facts.mounts === capture.mounts) continue
    const tree = await entriesOf(task, manifest)
    const [first, ...more] = tree === null ? [] : capture.emptiedSince(() => tree.entries())
    if (first === undefined) continue
    if (!request.allowEmptied) throw emptied(source.name, manifest.id, first, more)
    told.push(...[first, ...more].map(place => sentence(place, manifest.id)))
  }
  return told.length === 0 ? capture : { ...capture, finish: async () => withTold(await capture.finish(), told) }
}

function withTold(outcome: TreeOutcome, told: readonly string[]): TreeOutcome {
  return {
    ...outcome,
    facts: { ...outcome.facts, [EMPTIED_ALLOWED]: true },
    warnings: [...told, ...outcome.warnings],
  }
}

/** The newest backup that nothing was missing in, or after whose losses the operator went on; and the newest of all. */
function comparable({ history }: Comparison): Manifest[] {
  const whole = [...history.manifests].sort(bySequence).filter(({ id }) => !history.broken.has(id))
  const complete = whole.findLast(({ incomplete, facts }) => incomplete !== true || facts[EMPTIED_ALLOWED] === true)
  const newest = whole.at(-1)
  return [...new Set([complete, newest])].filter(manifest => manifest !== undefined)
}

/** A backup's entries. One that cannot be read must not keep anybody from backing up. */
async function entriesOf(task: Comparison, manifest: Manifest): Promise<Tree | null> {
  const { context, room, source } = task
  try {
    return await knownTree(context, room, manifest)
  } catch (error) {
    if (context.signal.aborted || (!(error instanceof NexusError) && errnoOf(error) === undefined)) throw error
    context.warn(
      `${source.name}: file systems were mounted or unmounted since ${manifest.id}, and whether files are missing now ` +
        `cannot be told, for its list cannot be read: ${messageOf(error)}`,
    )
    return null
  }
}

function sentence({ path, files }: EmptiedPlace, id: string): string {
  const held = files === 1 ? 'one file' : `${files} files`
  return `${shown(path)} held ${held} in ${id}, lies on another file system now and holds none of them`
}

function emptied(name: string, id: string, first: EmptiedPlace, more: readonly EmptiedPlace[]): NexusError {
  const others = more.length === 0 ? '' : `; so do ${more.map(({ path }) => shown(path)).join(', ')}`
  return new NexusError('refused', 'source_emptied', `${name}: ${sentence(first, id)}${others}`, {
    hint:
      `see whether its disk is mounted: findmnt --target ${shellQuoted(first.location)}; ` +
      `if its files are gone for good: nexus-backup create ${name} --allow-emptied`,
  })
}
