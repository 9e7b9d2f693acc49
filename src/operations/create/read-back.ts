import type { Context } from '../../context.js'
import { readMember } from '../../image/chain.js'
import { DamagedChain } from '../../image/restore-file.js'
import type { WorkerPool } from '../../image/workers/pool.js'
import type { SourceRoom } from '../../repository/types.js'
import { memberOf } from '../chain-members.js'
import type { OpenedBackup } from '../sealing/open-backup.js'
import { keepProofs } from '../trust/proofs.js'

/** `create --verify`: reads everything just written back from the repository. @throws DamagedChain when it differs */
export async function readBack(
  context: Context,
  pool: WorkerPool,
  room: SourceRoom,
  opened: OpenedBackup,
): Promise<void> {
  const { manifest } = opened
  let done = 0
  const advance = (bytes: number) => {
    done += bytes
    context.progress({ phase: `${manifest.source}: reading back`, done, total: manifest.bytes_stored })
  }
  const work = { signal: context.signal, advance }
  const member = memberOf(room, opened)
  const findings = await readMember(member, await member.layout(), { pool, work }, () => [])
  if (findings.length === 0) return
  const at = context.now().toISOString()
  const proof = { id: manifest.id, at, status: 'damaged', level: 'content', findings } as const
  await keepProofs(context, room, { proofs: [proof], manifests: [manifest] })
  throw new DamagedChain([{ id: manifest.id, findings }])
}
