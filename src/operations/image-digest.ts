import { rmSync } from 'node:fs'
import type { ChainMember } from '../image/chain.js'
import { DigestTable } from '../image/digest-table.js'
import { assertSizes, chainTable, DamagedChain } from '../image/restore-file.js'
import { newestOf, type OpenedBackup } from './sealing/open-backup.js'

/**
 * Makes sure that the indexes of a chain lead to the image digest in its newest manifest, before a byte is written.
 *
 * @param scratch path of a file that may be made; it is removed
 * @throws DamagedChain
 */
export async function assertImageDigest(
  chain: readonly OpenedBackup[],
  members: readonly ChainMember[],
  scratch: string,
): Promise<void> {
  try {
    const table = await chainTable(members, scratch)
    try {
      assertTableDigest(chain, table)
    } finally {
      table.close()
    }
  } finally {
    rmSync(scratch, { force: true })
  }
}

/**
 * Runs a restore that gives a table the digest of every block it writes, and makes sure that they are those of the image.
 * The chain is read once; until this returns, what was written must not be used.
 *
 * @param scratch path of a file that may be made; it is removed
 * @throws DamagedChain
 */
export async function withImageDigest<T>(
  chain: readonly OpenedBackup[],
  members: readonly ChainMember[],
  scratch: string,
  restore: (table: DigestTable) => Promise<T>,
): Promise<T> {
  await assertSizes(members)
  const table = DigestTable.create(scratch, newestOf(chain).manifest.blocks_total)
  try {
    const restored = await restore(table)
    assertTableDigest(chain, table)
    return restored
  } finally {
    table.close()
    rmSync(scratch, { force: true })
  }
}

/** Makes sure that a table leads to the image digest in the manifest of a chain's newest member. @throws DamagedChain */
export function assertTableDigest(chain: readonly OpenedBackup[], table: DigestTable): void {
  const { manifest } = newestOf(chain)
  if (table.imageDigest() === manifest.image_digest) return
  const findings = [{ part: 'blocks.idx', problem: 'does not lead to the image digest in the manifest' }]
  throw new DamagedChain([{ id: manifest.id, findings }])
}
