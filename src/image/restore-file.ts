import { NexusError } from '../errors.js'
import type { FrameRecord } from './block-index.js'
import { BlockSet } from './block-set.js'
import { type ChainMember, DamagedPart, type Finding, readDigests, readMember, sizeProblem } from './chain.js'
import { applyDigests } from './digest-rows.js'
import { DigestTable } from './digest-table.js'
import type { FileLayout } from './file-layout.js'
import { Lineage } from './lineage.js'
import { readWanted } from './read-wanted.js'
import { RowRanges } from './row-ranges.js'
import { DIGEST_BYTES, type Work } from './types.js'
import type { WorkerPool } from './workers/pool.js'
import type { PlacedPiece } from './workers/tasks.js'

/** A damaged chain, with what was found in which member. */
export class DamagedChain extends NexusError {
  readonly damage: { id: string; findings: Finding[] }[]

  constructor(damage: { id: string; findings: Finding[] }[]) {
    const [first] = damage
    const [finding] = first?.findings ?? []
    const more = damage.reduce((sum, member) => sum + member.findings.length, 0) - 1
    const rest = more > 0 ? ` (and ${more} more)` : ''
    super('damage', 'chain_damaged', `${first?.id}: ${finding?.part} ${finding?.problem}${rest}`, {
      hint: "'nexus-backup verify' finds all damage; after it, 'nexus-backup list' shows what can be restored instead",
    })
    this.damage = damage
  }
}

/** One member of a chain on the way back from the newest. */
export interface Step {
  member: ChainMember
  layout: FileLayout
  lineage: Lineage
}

/**
 * Goes through a chain newest first, with two layouts in memory at a time.
 *
 * @throws DamagedChain when a list of files is damaged or does not fit its parent's
 */
export async function* newestFirst(chain: readonly ChainMember[]): AsyncGenerator<Step, void, void> {
  let step: Step | undefined
  for (const member of [...chain].reverse()) {
    const layout = await layoutOf(member)
    const lineage = step?.lineage ?? new Lineage(layout)
    const problem = step === undefined ? null : lineage.back(step.layout, layout)
    if (step !== undefined && problem !== null) {
      throw new DamagedChain([{ id: step.member.id, findings: [{ part: 'chain', problem }] }])
    }
    step = { member, layout, lineage }
    yield step
  }
}

/**
 * The digest table of the image that a chain (full first) makes, from its indexes alone. A row of which no index knows
 * stays zero, so the image digest of an incomplete chain differs.
 *
 * @throws NexusError `damage` when an index or a list of files is damaged
 */
export async function chainTable(chain: readonly ChainMember[], path: string): Promise<DigestTable> {
  await assertSizes(chain)
  const blocks = chain.at(-1)?.blocks ?? 0
  const table = DigestTable.create(path, blocks)
  const known = new BlockSet(blocks)
  try {
    for await (const { member, layout, lineage } of newestFirst(chain)) {
      const place = (file: number, block: number) => {
        const row = lineage.row(file, block)
        return row !== null && known.add(row) ? row : null
      }
      await readDigests(member, layout, record => applyDigests(record, table, place))
    }
    return table
  } catch (error) {
    table.close()
    throw error
  }
}

/** Makes sure that a chain can make images as large as its manifests say, before anything of that size is made. @throws DamagedChain */
export async function assertSizes(chain: readonly ChainMember[]): Promise<void> {
  let before = 0
  for (const member of chain) {
    const problem = await sizeProblem(member, before)
    if (problem !== null) throw new DamagedChain([{ id: member.id, findings: [problem] }])
    before = member.blocks
  }
}

/** Where blocks of an image's file go; `to` is null for a file that is not written. */
export type Destination = (file: number) => { to: PlacedPiece['to'] | null; size: number } | null

/**
 * Writes every block of a chain's newest image once: members are read newest first and a bit for each block tells
 * what is written already. All bytes of all members are checked on the way.
 *
 * @param part blocks of the files that have a destination, where that is a part of the image: then only the frames that
 *   hold them are read and checked, and no older member than is needed
 * @throws DamagedChain when anything stored is damaged; what was written is then incomplete
 */
export async function restoreBlocks(
  chain: readonly ChainMember[],
  destination: Destination,
  settings: { pool: WorkerPool; work: Work; table?: DigestTable },
  part?: number,
): Promise<void> {
  const newest = chain.at(-1)
  if (newest === undefined) throw new NexusError('failed', 'empty_chain', 'nothing to restore from')
  let written: BlockSet | undefined
  const damage: { id: string; findings: Finding[] }[] = []
  for await (const step of newestFirst(chain)) {
    const blocks = written ?? new BlockSet(step.layout.rows)
    written = blocks
    if (blocks.count === part) break
    const read = part === undefined ? readMember : readWanted
    const findings = await read(step.member, step.layout, settings, record => {
      const digests = new RowRanges((from, row, count) =>
        settings.table?.put(row, record.digests.subarray(from * DIGEST_BYTES, (from + count) * DIGEST_BYTES)),
      )
      const pieces = piecesFor(record, step, destination, (row, at) => {
        const isNew = blocks.add(row)
        if (isNew) digests.add(at, row, 1)
        return isNew
      })
      digests.end()
      return pieces.length > 0 ? pieces : null
    })
    if (findings.length > 0) damage.push({ id: step.member.id, findings })
  }
  if (damage.length > 0) throw new DamagedChain(damage)
  const whole = part === undefined ? written?.complete === true : written?.count === part
  if (!whole) {
    throw new DamagedChain([{ id: newest.id, findings: [{ part: 'chain', problem: 'does not hold every block' }] }])
  }
}

/** Writes the one file of a chain's newest image to `fd`. @throws DamagedChain as `restoreBlocks` does */
export async function restoreFile(
  chain: readonly ChainMember[],
  fd: number,
  settings: { pool: WorkerPool; work: Work },
): Promise<void> {
  const size = (await chain.at(-1)?.layout())?.sizeOf(0) ?? 0
  await restoreBlocks(chain, file => (file === 0 ? { to: fd, size } : null), settings)
}

/**
 * A frame's runs as pieces of files, cut to the blocks that are wanted.
 *
 * @param wanted asked for a row of the newest image, and where among the frame's blocks it stands
 */
function piecesFor(
  record: FrameRecord,
  { layout, lineage }: Step,
  destination: Destination,
  wanted: (row: number, at: number) => boolean,
): PlacedPiece[] {
  const pieces: PlacedPiece[] = []
  let next = 0
  for (const run of record.runs) {
    const begin = next
    next += run.count
    const target = lineage.target(run.file)
    const place = target < 0 ? null : destination(target)
    if (place === null) continue
    const blockSize = layout.blockSizeOf(run.file)
    const size = layout.sizeOf(run.file)
    let open: PlacedPiece | undefined
    for (let block = run.first; block < run.first + run.count; block += 1) {
      const position = block * blockSize
      const length = Math.min(blockSize, size - position)
      const row = lineage.row(run.file, block)
      // A last block of another length is another block: the newer image has its own.
      const whole = length === Math.min(blockSize, place.size - position)
      if (row === null || !whole || !wanted(row, begin + block - run.first) || place.to === null) open = undefined
      else if (open !== undefined) open.length += length
      else {
        open = { to: place.to, position, offset: run.offset + (block - run.first) * blockSize, length }
        pieces.push(open)
      }
    }
  }
  return pieces
}

async function layoutOf(member: ChainMember): Promise<FileLayout> {
  try {
    return await member.layout()
  } catch (error) {
    if (!(error instanceof DamagedPart)) throw error
    throw new DamagedChain([{ id: member.id, findings: [error.finding] }])
  }
}
