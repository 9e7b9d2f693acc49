import { join } from 'node:path'
import * as v from 'valibot'
import type { Context } from '../../context.js'
import { errnoOf, messageOf } from '../../errors.js'
import type { SegmentFacts } from '../../policy/recovery/segment-facts.js'
import { readStateFile, writeStateFile } from '../state-file.js'

const directory = 'wal-index'
const big = v.pipe(
  v.string(),
  v.regex(/^-?\d{1,20}$/),
  v.transform(text => BigInt(text)),
)
const xid = v.number()
const commit = v.object({ xid, lsn: big, at: big })

const schema = v.object({
  format: v.literal(2),
  segments: v.record(
    v.string(),
    v.object({
      lastRecord: v.nullable(big),
      commits: v.nullable(v.object({ first: commit, last: commit })),
      runs: v.array(v.object({ lsn: big, earliest: big, latest: big })),
      xids: v.nullable(v.object({ low: xid, high: xid })),
      nextXid: v.nullable(xid),
      minimal: v.array(big),
      restorePoints: v.array(v.object({ name: v.string(), lsn: big, at: big })),
      removals: v.array(v.object({ lsn: big, xid, what: v.picklist(['database', 'tablespace']), oid: v.number() })),
    }),
  ),
})

/** Facts of archived segments by name: a segment never changes, so each is read once on a machine. */
export interface WalIndex {
  get(key: string): SegmentFacts | undefined
  set(key: string, facts: SegmentFacts): void
  /**
   * Writes down what is new, without the segments that are gone. A state directory that cannot be written is said, and
   * stops nothing.
   */
  save(isThere: (key: string) => boolean): Promise<void>
}

/** @param place names of the repository, the source and the system that the segments are of */
export async function openWalIndex(
  context: Pick<Context, 'stateDirectory' | 'warn'>,
  { repository, source, system }: { repository: string; source: string; system: string },
): Promise<WalIndex> {
  const file = `${source}-${system}.json`
  const known = new Map(Object.entries(await read(join(context.stateDirectory, directory, repository, file))))
  let isChanged = false
  return {
    get: key => known.get(key),
    set(key, facts) {
      known.set(key, facts)
      isChanged = true
    },
    async save(isThere) {
      if (!isChanged) return
      isChanged = false
      const segments = Object.fromEntries([...known].filter(([key]) => isThere(key)))
      const text = JSON.stringify({ format: 2, segments }, (_, value) =>
        typeof value === 'bigint' ? value.toString() : value,
      )
      try {
        await writeStateFile(context.stateDirectory, [directory, repository], file, `${text}\n`)
      } catch (error) {
        if (errnoOf(error) === undefined) throw error
        context.warn(`${source}: the state directory cannot keep what was read of the WAL: ${messageOf(error)}`)
      }
    },
  }
}

/** Only a memory: what cannot be read is read from the archive again. */
async function read(path: string): Promise<Record<string, SegmentFacts>> {
  try {
    const text = await readStateFile(path)
    const result = v.safeParse(schema, text === undefined ? undefined : JSON.parse(text))
    return result.success ? result.output.segments : {}
  } catch (error) {
    if (errnoOf(error) === undefined && !(error instanceof SyntaxError)) throw error
    return {}
  }
}
