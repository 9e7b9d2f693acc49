import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { type ChainMember, DamagedPart, type Finding, readMember, sizeProblem } from './chain.js'
import { applyDigests, carryDigests } from './digest-rows.js'
import { DigestTable } from './digest-table.js'
import type { FileLayout } from './file-layout.js'
import { basesProblem } from './lineage.js'
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
  layout: FileLayout
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
    const layout = await layoutOf(member)
    if ('problem' in layout) return [layout]
    const parent = member.parent === null ? undefined : this.#known.get(member.parent)
    // Of a member whose parent is lost nothing but its own bytes can be checked.
    if (member.parent !== null && parent === undefined) return readMember(member, layout, this.#settings, () => [])
    const problem = misfit(layout, parent) ?? (await sizeProblem(member, parent?.table.rows ?? 0))
    if (problem !== null) return [problem]
    const table = this.#tableFor(member, layout, parent)
    const place = (file: number, block: number) => layout.firstRowOf(file) + block
    const findings = await readMember(member, layout, this.#settings, record => {
      applyDigests(record, table, place)
      return []
    })
    const conclusive = findings.length === 0 && (parent?.sound ?? member.parent === null)
    if (conclusive && table.imageDigest() !== member.imageDigest) {
      findings.push({ part: member.index.name, problem: 'does not lead to the image digest in the manifest' })
    }
    const sound = conclusive && findings.length === 0
    if (member.children > 0) this.#known.set(member.id, { layout, table, children: member.children, sound })
    else drop(table)
    return findings
  }

  close(): void {
    for (const { table } of this.#known.values()) drop(table)
    this.#known.clear()
  }

  /** The last child takes its parent's table over where every row keeps its place; the others work on copies. */
  #tableFor(member: VerifiedMember, layout: FileLayout, parent: Known | undefined): DigestTable {
    const path = join(this.#scratch, `${member.id}.digests`)
    if (member.parent === null || parent === undefined) return DigestTable.create(path, layout.rows)
    parent.children -= 1
    const last = parent.children === 0
    if (last) this.#known.delete(member.parent)
    if (!sameRows(layout, parent.layout)) {
      const table = DigestTable.create(path, layout.rows)
      carryDigests(parent, { layout, table })
      if (last) drop(parent.table)
      return table
    }
    if (!last) return DigestTable.copyOf(parent.table, path, layout.rows)
    parent.table.resize(layout.rows)
    return parent.table
  }
}

/** Whether every file is its parent's file of the same number and begins at the same row; the last may have grown. */
function sameRows(layout: FileLayout, parent: FileLayout): boolean {
  if (layout.count !== parent.count) return false
  for (let file = 0; file < layout.count; file += 1) {
    if (layout.baseOf(file) !== file || layout.firstRowOf(file) !== parent.firstRowOf(file)) return false
  }
  return true
}

function misfit(layout: FileLayout, parent: Known | undefined): Finding | null {
  const problem = parent === undefined ? null : basesProblem(layout, parent.layout)
  return problem === null ? null : { part: 'chain', problem }
}

async function layoutOf(member: ChainMember): Promise<FileLayout | Finding> {
  try {
    return await member.layout()
  } catch (error) {
    if (error instanceof DamagedPart) return error.finding
    throw error
  }
}

function drop(table: DigestTable): void {
  table.close()
  rmSync(table.path, { force: true })
}
