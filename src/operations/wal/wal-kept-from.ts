import * as v from 'valibot'
import { NexusError } from '../../errors.js'
import { parseOutsideJson, prettyJson } from '../../repository/json.js'
import type { SourceRoom } from '../../repository/types.js'

const schema = v.object({
  format: v.literal(1),
  systems: v.array(
    v.object({ system_identifier: v.string(), from: v.pipe(v.string(), v.regex(/^\d{1,20}$/)), at: v.string() }),
  ),
})

const limit = 1024 * 1024

/** Up to which position of a system's log prune has let WAL go, by system identifier. */
export type WalKeptFrom = ReadonlyMap<string, bigint>

/**
 * What earlier prunes wrote down. Without it nobody could tell WAL that retention let go from WAL that was lost.
 * @throws NexusError `damage` (`wal_record_damaged`) when it cannot be read
 */
export async function readWalKeptFrom(room: SourceRoom): Promise<WalKeptFrom> {
  const record = await readRecord(room)
  return new Map(record.map(({ system_identifier, from }) => [system_identifier, BigInt(from)]))
}

/**
 * Writes down, durably and before anything is deleted, from where on a system's WAL is kept. It never goes back.
 * The caller holds the writer lock.
 */
export async function noteWalKeptFrom(room: SourceRoom, system: string, from: bigint, now: Date): Promise<void> {
  const record = await orNone(readRecord(room))
  const known = record.find(({ system_identifier }) => system_identifier === system)
  if (known !== undefined && BigInt(known.from) >= from) return
  const others = record.filter(entry => entry !== known)
  const entry = { system_identifier: system, from: from.toString(), at: now.toISOString() }
  const document = { format: 1, systems: [...others, entry] } satisfies v.InferOutput<typeof schema>
  await room.repository.storage.replace(nameOf(room), prettyJson(document))
}

async function readRecord(room: SourceRoom): Promise<v.InferOutput<typeof schema>['systems']> {
  try {
    return v.parse(schema, parseOutsideJson(await room.repository.storage.readSmall(nameOf(room), limit))).systems
  } catch (cause) {
    if (cause instanceof NexusError && cause.kind === 'not-found') return []
    // What lies there may be too large, or no file at all.
    if (cause instanceof NexusError && cause.kind !== 'damage') throw cause
    throw new NexusError('damage', 'wal_record_damaged', `${nameOf(room)} cannot be understood`, {
      hint: `it only says which WAL prune let go; remove it, and the next prune writes it anew: nexus-backup prune ${room.name}`,
      cause,
    })
  }
}

/** A record nobody can read is written anew. */
async function orNone<T>(reading: Promise<T[]>): Promise<T[]> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NexusError && error.code === 'wal_record_damaged') return []
    throw error
  }
}

function nameOf(room: SourceRoom): string {
  return `${room.name}/.wal-kept-from.json`
}
