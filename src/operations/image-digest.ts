import type { ChainMember } from '../image/chain.js'
import type { DigestTable } from '../image/digest-table.js'
import { chainTable, DamagedChain } from '../image/restore-file.js'
import { newestOf, type OpenedBackup } from './sealing/open-backup.js'

/**
 * Makes sure that the indexes of a chain lead to the image digest in its newest manifest, before a byte is written.
 *
 * @param scratch path of a file that may be made; the caller removes it
 * @throws DamagedChain
 */
export async function assertImageDigest(
  chain: readonly OpenedBackup[],
  members: readonly ChainMember[],
  scratch: string,
): Promise<void> {
  const table = await chainTable(members, scratch)
  try {
    assertTableDigest(chain, table)
  } finally {
    table.close()
  }
}

/** The same for a table that is made already. @throws DamagedChain */
export function assertTableDigest(chain: readonly OpenedBackup[], table: DigestTable): void {
  const { manifest } = newestOf(chain)
  if (table.imageDigest() === manifest.image_digest) return
  const findings = [{ part: 'blocks.idx', problem: 'does not lead to the image digest in the manifest' }]
  throw new DamagedChain([{ id: manifest.id, findings }])
}
