import * as v from 'valibot'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { Decision } from '../../policy/retention.js'
import { parseOutsideJson, prettyJson } from '../../repository/json.js'
import type { SourceRoom } from '../../repository/types.js'
import type { SystemWalPlan } from './prune-wal-plan.js'

const text = v.string()
const planSchema = v.object({
  format: v.literal(1),
  begun_at: text,
  host: text,
  operator: v.object({ user: text, sudo_user: v.nullable(text) }),
  delete: v.array(v.object({ id: text, reasons: v.array(text) })),
  /** WAL to delete, by system: the kept WAL begins with `keep_from`; null: none of it is kept. */
  wal: v.optional(
    v.array(
      v.object({ system_identifier: text, keep_from: v.nullable(text), files: v.number(), reasons: v.array(text) }),
    ),
  ),
})

/** What a prune is about to delete: written before the first deletion, gone after the last. */
export type PrunePlan = v.InferOutput<typeof planSchema>

/** Bytes a plan may have: a few hundred for each backup. */
const limit = 8 * 1024 * 1024

/** Writes the plan down, durably, in place of an interrupted one's. The caller holds the writer lock. */
export async function writePlan(
  context: Context,
  room: SourceRoom,
  deletions: Decision[],
  wal: readonly SystemWalPlan[],
): Promise<void> {
  const { host, operator } = context
  const plan = {
    format: 1,
    begun_at: context.now().toISOString(),
    host,
    operator,
    delete: deletions,
    wal: wal
      .filter(plan => plan.delete.length > 0)
      .map(({ system: { system }, keepFromSegment, delete: { length }, reasons }) => ({
        system_identifier: system,
        keep_from: keepFromSegment,
        files: length,
        reasons,
      })),
  } satisfies PrunePlan
  await room.repository.storage.replace(planName(room), prettyJson(plan))
}

/**
 * The plan of a prune that was interrupted. Undefined when there is none, or when it cannot be read: it is a
 * record, and what is still to be done follows from the backups themselves.
 */
export async function readPlan(room: SourceRoom): Promise<PrunePlan | undefined> {
  try {
    const value = parseOutsideJson(await room.repository.storage.readSmall(planName(room), limit))
    const result = v.safeParse(planSchema, value)
    return result.success ? result.output : undefined
  } catch (error) {
    if (error instanceof NexusError && error.kind !== 'not-found' && error.kind !== 'damage') throw error
    return undefined
  }
}

export async function removePlan(room: SourceRoom): Promise<void> {
  await room.repository.storage.removeFile(planName(room))
}

function planName(room: SourceRoom): string {
  return `${room.name}/.prune-plan.json`
}
