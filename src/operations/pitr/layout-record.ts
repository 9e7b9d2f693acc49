import type { Context } from '../../context.js'
import { thisProcess } from '../restoring-process.js'
import { finishInterruptedTrees } from '../trees/interrupted-trees.js'
import { createTreeRecord, removeTreeRecord, type TreeRecord } from '../trees/tree-record.js'
import type { Layout } from './lay-out.js'
import { assertEmpty, layoutPlace } from './new-directory.js'

/**
 * Lays a cluster out with a record of it beside the data directory: when this process is killed, the next restore to the same
 * place removes what was staged. Of a target that is a mount point record and staging lie inside; once its entries are being
 * moved up it is left to the operator: by then nothing tells ours from what somebody may have put there.
 *
 * @param source its name, for messages
 * @throws NexusError `locked` when another restore to this place has begun, `refused` (`target_exists`), and as `work` does
 */
export async function withLayoutRecord<T>(
  context: Context,
  source: string,
  { directory, tablespaces, waldir, mark }: Pick<Layout, 'directory' | 'tablespaces' | 'waldir' | 'mark'>,
  work: () => Promise<T>,
): Promise<T> {
  const own = layoutPlace(directory, mark)
  await finishInterruptedTrees(context, { name: source, paths: [own.recorded], service: null })
  const wal = waldir ? [waldir] : []
  const places = [...tablespaces.map(({ to }) => to), ...wal, directory].map(target => ({
    target,
    ...layoutPlace(target, mark),
  }))
  for (const { target, isInside } of places) {
    const flag = target === directory ? '--to' : target === waldir ? '--waldir' : '--tablespace-map'
    if (isInside) assertEmpty(target, flag)
  }
  const record: TreeRecord = {
    format: 1,
    kind: 'trees',
    ...thisProcess(),
    home: own.recorded,
    // Nothing is ever replaced: there is no previous one, only a name that nothing else has.
    moves: places.map(({ place: { staged }, recorded: target }) => {
      return { staged, target, previous: `${staged}.previous`, replaces: false }
    }),
    disposable: true,
    scratch: [`${own.place.staged}.digests`],
    service: null,
    phase: 'staging',
  }
  createTreeRecord(record)
  try {
    return await work()
  } finally {
    removeTreeRecord(record)
  }
}
