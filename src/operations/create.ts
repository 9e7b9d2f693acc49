import { randomBytes } from 'node:crypto'
import type { SourceSettings } from '../config/settings.js'
import type { Context } from '../context.js'
import { NexusError } from '../errors.js'
import { WorkerPool } from '../image/workers/pool.js'
import { recorded } from '../journal/recorded.js'
import type { Journal } from '../journal/types.js'
import { initRepository } from '../repository/open.js'
import type { Repository } from '../repository/types.js'
import { assertReadable } from './create/assert-readable.js'
import { backUp } from './create/back-up.js'
import { previewCreate } from './create/create-preview.js'
import { openToWrite } from './create/open-to-write.js'
import { failureOf } from './failure.js'
import { reportOf } from './report.js'
import type { CreateRequest } from './requests.js'
import type { CopyResult, CreatedBackup, CreateResult, Failure } from './results.js'

/**
 * Takes a backup of each source. One that fails does not stop the others; its error is in `failures`.
 *
 * @throws NexusError `interrupted` after a signal, usage `archive_unreadable` before anything
 */
export async function create(context: Context, journal: Journal, request: CreateRequest): Promise<CreateResult> {
  if (request.verify) assertReadable(request.sources)
  const backups: CreatedBackup[] = []
  const failures: Failure[] = []
  const copied: Pick<CopyResult, 'copies' | 'failures'> = { copies: [], failures: [] }
  const runId = randomBytes(8).toString('hex')
  const pool = request.dryRun ? null : WorkerPool.start(context.signal)
  try {
    for (const source of request.sources) {
      try {
        backups.push(
          pool === null
            ? await previewCreate(context, source, request)
            : await createOne(context, journal, { source, request, runId, pool }),
        )
        const { copies, failures: missed } = await copyOne(context, journal, { source, request })
        copied.copies.push(...copies)
        copied.failures.push(...missed)
      } catch (error) {
        if (context.signal.aborted) throw interrupted(error)
        failures.push(failureOf(source.name, error))
      }
    }
  } finally {
    await pool?.stop()
  }
  return { command: 'create', backups, failures, copies: copied.copies, copy_failures: copied.failures }
}

interface OneSource {
  source: SourceSettings
  request: CreateRequest
  runId: string
  pool: WorkerPool
}

function createOne(context: Context, journal: Journal, one: OneSource): Promise<CreatedBackup> {
  const { source, request } = one
  const subject = { operation: 'create', source: source.name, repository: source.repository.path }
  return recorded(
    context,
    journal,
    subject,
    () => backUp(context, journal, { ...one, open: () => repositoryFor(context, source, request) }),
    ({ manifest: { id, damaged_source: damaged }, unvouched }) => {
      return { result: damaged ? 'damage' : unvouched === null ? 'done' : 'partial', backup: id }
    },
  ).then(({ manifest, lock, concerns, unvouched, isDistrusted }) => ({
    ...reportOf(manifest, source.repository.path),
    ...(lock === null ? {} : { lock }),
    ...(unvouched === null ? {} : { unvouched }),
    ...(isDistrusted ? { distrusted: true } : {}),
    ...(concerns.length === 0 ? {} : { concerns }),
  }))
}

/** Brings the copies of a source up to date: with what was made now, and with what an earlier run could not copy. */
async function copyOne(
  context: Context,
  journal: Journal,
  { source, request }: { source: SourceSettings; request: CreateRequest },
): Promise<Pick<CopyResult, 'copies' | 'failures'>> {
  if (request.dryRun || source.copies.length === 0) return { copies: [], failures: [] }
  const { copy } = await import('./copy.js')
  const tasks = source.copies.map(({ repository: to }) => ({ source: source.name, from: source.repository, to }))
  return copy(context, journal, { tasks, init: request.init, dryRun: false })
}

function repositoryFor(context: Context, source: SourceSettings, request: CreateRequest): Promise<Repository> {
  if (!request.init) return openToWrite(source.repository)
  const owner = request.owner === undefined ? {} : { owner: request.owner }
  return initRepository(source.repository, { ...owner, now: context.now() })
}

function interrupted(error: unknown): NexusError {
  if (error instanceof NexusError && error.kind === 'interrupted') return error
  return new NexusError('interrupted', 'interrupted', 'stopped by a signal; nothing half-made was kept', {
    cause: error,
  })
}
