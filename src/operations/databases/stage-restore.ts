import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { restoreFile } from '../../image/restore-file.js'
import { WorkerPool } from '../../image/workers/pool.js'
import type { SourceRoom } from '../../repository/types.js'
import { keepAttributes } from '../../sources/sqlite/attributes.js'
import { checkRestored } from '../../sources/sqlite/check-restored.js'
import { digestsBeside, dropStaged } from '../../sources/sqlite/swap.js'
import { chainOf, memberOf } from '../chain-members.js'
import { assertImageDigest } from '../image-digest.js'
import { insteadHint } from '../instead.js'
import { assertSpace } from '../restore-space.js'
import { rememberRestored } from '../restored-content.js'
import type { RestoreResult } from '../results.js'
import { openChain } from '../sealing/open-backup.js'
import type { Selected } from '../select.js'

/**
 * Makes and proves the file that a restore will put in place, or takes it away again. What SQLite finds wrong in bytes that
 * are those that were captured keeps it from replacing live data unasked, never from being restored beside them.
 *
 * @returns what the checks found, and what of owner and mode could not be kept, in words
 */
export async function stageRestore(
  context: Context,
  {
    selected,
    staged,
    replaces,
    mustBeSound,
  }: { selected: Selected; staged: string; replaces: string | null; mustBeSound: boolean },
): Promise<{ checks: RestoreResult['checks']; lost: string[] }> {
  await assertSpace(dirname(staged), selected.manifest.bytes_source)
  try {
    const checks = await writeImage(context, selected, staged, () =>
      checkRestored(staged, selected.manifest, context.signal),
    )
    await rememberRestored(context, selected, checks)
    if (mustBeSound) await assertSound(context, selected, checks)
    const lost = await keepAttributes(staged, replaces, selected.manifest.facts)
    return { checks, lost }
  } catch (error) {
    dropStaged(staged)
    throw error
  }
}

/**
 * Writes the image of a backup to a new file, every byte of the chain checked on the way, and makes it durable while
 * `check` looks at it: the disk and the processor are busy at the same time.
 */
export async function writeImage<T>(
  context: Context,
  selected: Selected,
  path: string,
  check: () => Promise<T>,
): Promise<T> {
  const { manifest, room, survey } = selected
  const manifests = new Map(survey.manifests.map(member => [member.id, member]))
  const chain = chainOf(manifest, manifests)
  const opened = await openChain(context, room, chain)
  const members = opened.map(member => memberOf(room, member))
  await assertImageDigest(opened, members, digestsBeside(path))
  const file = await open(path, 'wx+', 0o600)
  const pool = WorkerPool.start(context.signal)
  try {
    await file.truncate(manifest.files[0]?.size ?? 0)
    const total = chain.reduce((sum, { bytes_stored }) => sum + bytes_stored, 0)
    let done = 0
    const advance = (bytes: number) => {
      done += bytes
      context.progress({ phase: `${manifest.source}: restoring`, done, total })
    }
    await restoreFile(members, file.fd, { pool, work: { signal: context.signal, advance } })
    const [checked] = await Promise.all([check(), file.sync()])
    return checked
  } finally {
    await pool.stop()
    await file.close()
  }
}

async function assertSound(
  context: Context,
  { manifest, room }: Selected,
  checks: RestoreResult['checks'],
): Promise<void> {
  const failed = checks.find(({ status }) => status === 'failed')
  if (failed === undefined) return
  const message = `${manifest.id} is whole as it was captured, but that fails ${failed.name}: ${failed.detail}`
  throw new NexusError('refused', 'restored_damaged', message, {
    hint: `nothing was replaced; ${await damagedHint(context, room, manifest.id)}`,
  })
}

/** What can be done with a backup whose content fails its checks: neither way is refused for that; and which is better. */
export async function damagedHint(context: Context, room: SourceRoom, id: string): Promise<string> {
  const instead = await insteadHint(context, room, { except: id })
  const better = instead === undefined ? '' : `${instead}; or `
  return `${better}restore it beside the live data to look into it: nexus-backup restore ${id} --to PATH; or, as the application used it, in place with --allow-damaged`
}
