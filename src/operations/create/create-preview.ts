import type { SourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { CreateRequest } from '../requests.js'
import type { BackupReport } from '../results.js'
import { assertSealable } from '../sealing/sealing-for.js'
import { surveyUsing } from '../survey.js'
import { parentsIn, planCreate } from './create-plan.js'
import { openToWrite } from './open-to-write.js'
import { workFor } from './source-work.js'

/** What `create` would do for a source, by the same plan, touching nothing. */
export async function previewCreate(
  context: Context,
  source: SourceSettings,
  request: CreateRequest,
): Promise<BackupReport> {
  const work = await workFor(source, request)
  const probe = await work.probe(context)
  const found = await existing(context, source, request)
  const size = probe.size ?? (await work.measure?.(context)) ?? 0
  if (found !== null) await work.assertComparable?.({ context, source, request, ...found })
  const history = found?.history ?? { manifests: [], damaged: new Set<string>() }
  const plan = planCreate({
    requested: request.type,
    ...history,
    identity: probe.identity,
    digestAlgorithm: source.digestAlgorithm,
    policy: source.chain,
    adopted: request.adopt,
    now: context.now(),
  })
  return {
    id: '',
    source: source.name,
    kind: source.kind,
    type: plan.type,
    parent: plan.parent?.id ?? null,
    captured_at: context.now().toISOString(),
    bytes_source: size,
    bytes_stored: 0,
    blocks_total: Math.ceil(size / probe.blockSize),
    blocks_stored: 0,
    duration_ms: 0,
    repository: source.repository.path,
    warnings: [...plan.warnings, plan.reason],
    damaged_source: false,
    incomplete: false,
  }
}

/** The source's part of the repository, and what is in it; null for a repository that the run is to make. */
async function existing(context: Context, source: SourceSettings, request: CreateRequest) {
  try {
    const repository = await openToWrite(source.repository)
    await assertSealable(context, repository, source.repository.encryption, request)
    const room = repository.source(source.name)
    return { room, history: await surveyUsing(room, context, parentsIn) }
  } catch (error) {
    if (request.init && error instanceof NexusError && error.code === 'repository_missing') {
      return null
    }
    throw error
  }
}
