import type { PostgresSourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { messageOf } from '../../errors.js'
import { type ArchivingState, archivingProblem, readArchiving } from '../../sources/postgres/archiving.js'
import { openSession } from '../../sources/postgres/session.js'
import type { Concern } from '../results.js'

/**
 * What endangers the point-in-time recovery of a cluster. Without `keep.pitr` nobody asked for it, and only archiving that
 * is switched on and fails is of concern: pg_wal grows.
 *
 * @param begins the repository is made by this run: until now archiving could only fail
 */
export function archivingConcerns(
  { name, keep }: Pick<PostgresSourceSettings, 'name' | 'keep'>,
  archiving: ArchivingState,
  { begins }: { begins: boolean } = { begins: false },
): Concern[] {
  const problem = archivingProblem(name, archiving)
  if (problem === null) return []
  const isUnset = problem.code === 'archiving_off' || problem.code === 'archiving_unset'
  const matters = isUnset ? keep.pitr !== undefined : !begins
  return matters ? [{ source: name, ...problem }] : []
}

/** The same of a server that is not known yet. One that cannot be asked is a warning. */
export async function askArchiving(context: Context, source: PostgresSourceSettings): Promise<Concern[]> {
  try {
    return archivingConcerns(source, await readArchiving(await openSession(source, ['psql'], context)))
  } catch (error) {
    context.signal.throwIfAborted()
    context.warn(`${source.name}: whether its WAL is archived is not known: ${messageOf(error)}`)
    return []
  }
}
