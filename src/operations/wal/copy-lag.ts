import type { PostgresSourceSettings, RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import type { SourceRoom } from '../../repository/types.js'
import { openTarget } from '../copy/copy-source.js'
import { missingWal } from '../copy/copy-wal.js'
import type { Concern } from '../results.js'
import { shellQuoted } from '../shell.js'
import { type Survey, survey } from '../survey.js'
import { roomOf } from './find-source.js'

/** How far a copy is behind the WAL that is archived. */
export interface CopyLag {
  /** Location of the copy. */
  repository: string
  /** Archived files that it lacks; null where it cannot be asked. */
  behind: number | null
  /** When the oldest of them was finished by the server, ISO 8601 UTC; null where none is missing or known. */
  since: string | null
  /** Why it cannot be asked. */
  problem: string | null
}

/** A copy that lacks something for so long is not being made. */
const BEHIND_TOO_LONG_MS = 15 * 60_000

/** Compares what is archived with each copy of a source that has `wal_copies`; none of any other. */
export async function copyLags(context: Context, source: PostgresSourceSettings): Promise<CopyLag[]> {
  if (source.walCopies === undefined || source.copies.length === 0) return []
  const origin = await roomOf(source)
  const found = await survey(origin, context)
  const lags: CopyLag[] = []
  for (const { repository } of source.copies) {
    try {
      lags.push(await lagOf(context, { origin, found }, repository))
    } catch (error) {
      context.signal.throwIfAborted()
      if (!(error instanceof NexusError)) throw error
      lags.push({ repository: repository.path, behind: null, since: null, problem: messageOf(error) })
    }
  }
  return lags
}

async function lagOf(
  context: Context,
  { origin, found }: { origin: SourceRoom; found: Survey },
  repository: RepositorySettings,
): Promise<CopyLag> {
  const target = (await openTarget({ source: origin.name, to: repository })).source(origin.name)
  const copied = new Set((await target.entries()).flatMap(({ id, status }) => (status === 'partial' ? [] : [id])))
  const missing = await missingWal(context, { origin, found }, target, copied)
  let since: string | null = null
  for (const { from, names } of missing) {
    const [oldest] = names
    if (oldest === undefined) continue
    const { closed_at: closedAt } = await from.header(oldest)
    if (since === null || Date.parse(closedAt) < Date.parse(since)) since = closedAt
  }
  const behind = missing.reduce((sum, { names }) => sum + names.length, 0)
  return { repository: repository.path, behind, since, problem: null }
}

/** Of copies that are not being made. */
export function lagConcerns(source: string, lags: readonly CopyLag[], now: Date): Concern[] {
  return lags.flatMap(({ repository, behind, since, problem }) => {
    const hint = `bring it up to date, which says what is wrong: nexus-backup copy ${shellQuoted(source)} --to ${shellQuoted(repository)}`
    if (problem !== null) {
      const message = `${source}: how far the copy in ${repository} is behind is not known: ${problem}`
      return [{ source, code: 'copy_unreachable', message, hint }]
    }
    if (behind === null || behind === 0 || since === null) return []
    const late = now.getTime() - Date.parse(since)
    if (late < BEHIND_TOO_LONG_MS) return []
    const files = `${behind} ${behind === 1 ? 'file' : 'files'}`
    const message = `${source}: the copy in ${repository} lacks ${files} of WAL for ${Math.round(late / 60_000)} minutes, since ${since}`
    return [{ source, code: 'copy_behind', message, hint }]
  })
}
