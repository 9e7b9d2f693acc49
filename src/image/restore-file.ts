import { NexusError } from '../errors.js'
import { blocksOf, type ChainMember, type Finding, piecesFor, readDigests, readMember, sizeProblem } from './chain.js'
import { DigestTable } from './digest-table.js'
import type { Work } from './types.js'
import type { WorkerPool } from './workers/pool.js'

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

/**
 * The digest table of the image that a chain (full first) makes, from its indexes alone.
 *
 * @throws NexusError `damage` when an index is damaged
 */
export async function chainTable(chain: readonly ChainMember[], path: string): Promise<DigestTable> {
  const table = DigestTable.create(path, 0)
  try {
    for (const member of chain) {
      const problem = await sizeProblem(member, table.rows)
      if (problem !== null) throw new DamagedChain([{ id: member.id, findings: [problem] }])
      table.resize(blocksOf(member))
      await readDigests(member, table)
    }
    return table
  } catch (error) {
    table.close()
    throw error
  }
}

/**
 * Writes the one file of a chain's newest image to `fd`, every block once: members are read newest first and a bit
 * for each block tells what is written already. All bytes of all members are checked on the way.
 *
 * @throws DamagedChain when anything stored is damaged; the file is then incomplete
 */
export async function restoreFile(
  chain: readonly ChainMember[],
  fd: number,
  settings: { pool: WorkerPool; work: Work },
): Promise<void> {
  const newest = chain.at(-1)
  if (newest === undefined) throw new NexusError('failed', 'empty_chain', 'nothing to restore from')
  const written = new BlockSet(blocksOf(newest))
  const damage: { id: string; findings: Finding[] }[] = []
  for (const member of [...chain].reverse()) {
    const [file] = member.files
    if (file === undefined) continue
    const findings = await readMember(member, settings, record => {
      const pieces = piecesFor(record, file, fd, block => written.add(block))
      return pieces.length > 0 ? pieces : null
    })
    if (findings.length > 0) damage.push({ id: member.id, findings })
  }
  if (damage.length > 0) throw new DamagedChain(damage)
  if (!written.complete) {
    throw new DamagedChain([{ id: newest.id, findings: [{ part: 'chain', problem: 'does not hold every block' }] }])
  }
}

/** Which blocks have been seen: one bit each, 32 MiB for a terabyte of 4 KiB pages. */
class BlockSet {
  readonly #bits: Uint8Array
  readonly #size: number
  #count = 0

  constructor(size: number) {
    this.#bits = new Uint8Array(Math.ceil(size / 8))
    this.#size = size
  }

  /** True when the block was not there before; blocks beyond the end are never added. */
  add(block: number): boolean {
    if (block >= this.#size) return false
    // Not >> 3: that would wrap at 2^31 blocks, 8 TiB of 4 KiB pages.
    const byteAt = Math.floor(block / 8)
    const byte = this.#bits[byteAt] ?? 0
    const mask = 1 << (block & 7)
    if ((byte & mask) !== 0) return false
    this.#bits[byteAt] = byte | mask
    this.#count += 1
    return true
  }

  get complete(): boolean {
    return this.#count === this.#size
  }
}
