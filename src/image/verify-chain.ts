import { rmSync } from 'node:fs'
import { join } from 'node:path'
import {
  applyDigests,
  blocksOf,
  type ChainMember,
  type Finding,
  firstRowsOf,
  readMember,
  sizeProblem,
} from './chain.js'
import { DigestTable } from './digest-table.js'
import type { Work } from './types.js'
import type { WorkerPool } from './workers/pool.js'

/** A member of a chain to verify, with its place in the tree of fulls, diffs and increments. */
export interface VerifiedMember extends ChainMember {
  parent: string | null
  /** How many of the members to come have this one as parent. */
  children: number
  imageDigest: string
}

interface Known {
  table: DigestTable
  children: number
  /** False when this member or one before it is damaged: nothing can be concluded for its children's images. */
  sound: boolean
}

/**
 * Checks the members of a chain, parents before children: stored bytes against SHA-256, every frame decoded, every
 * block against its digest, and the image each member makes against its image digest.
 */
export class ChainVerifier {
  readonly #scratch: string
  readonly #settings: { pool: WorkerPool; work: Work }
  readonly #known = new Map<string, Known>()

  /** `scratch` is a directory of the caller's for digest tables. */
  constructor(scratch: string, settings: { pool: WorkerPool; work: Work }) {
    this.#scratch = scratch
    this.#settings = settings
  }

  /** Findings of one member by itself; damage of its parents is theirs. */
  async check(member: VerifiedMember): Promise<Finding[]> {
    const parent = member.parent === null ? undefined : this.#known.get(member.parent)
    // Of a member whose parent is lost nothing but its own bytes can be checked.
    if (member.parent !== null && parent === undefined) return readMember(member, this.#settings, () => [])
    const problem = await sizeProblem(member, parent?.table.rows ?? 0)
    if (problem !== null) return [problem]
    const table = this.#tableFor(member, parent)
    const firstRows = firstRowsOf(member.files)
    const findings = await readMember(member, this.#settings, record => {
      applyDigests(record, table, firstRows)
      return []
    })
    const conclusive = findings.length === 0 && (parent?.sound ?? member.parent === null)
    if (conclusive && table.imageDigest() !== member.imageDigest) {
      findings.push({ part: member.index.name, problem: 'does not lead to the image digest in the manifest' })
    }
    const sound = conclusive && findings.length === 0
    if (member.children > 0) this.#known.set(member.id, { table, children: member.children, sound })
    else drop(table)
    return findings
  }

  close(): void {
    for (const { table } of this.#known.values()) drop(table)
    this.#known.clear()
  }

  /** The last child takes its parent's table over; the others work on copies. */
  #tableFor(member: VerifiedMember, parent: Known | undefined): DigestTable {
    const rows = blocksOf(member)
    const path = join(this.#scratch, `${member.id}.digests`)
    if (member.parent === null || parent === undefined) return DigestTable.create(path, rows)
    parent.children -= 1
    if (parent.children > 0) return DigestTable.copyOf(parent.table, path, rows)
    this.#known.delete(member.parent)
    parent.table.resize(rows)
    return parent.table
  }
}

function drop(table: DigestTable): void {
  table.close()
  rmSync(table.path, { force: true })
}
