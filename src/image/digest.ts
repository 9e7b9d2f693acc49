import { createHash } from 'node:crypto'
import hashWasm from 'hash-wasm/dist/xxhash128.umd.min.js'
import { DIGEST_BYTES, type DigestKind } from './types.js'

/**
 * `xxh3-128`: XXH3 under a seed drawn anew for each chain, fast and not foreseeable for who fills the database.
 * `sha256-128`: the first 16 bytes of SHA-256, for those who fear crafted collisions all the same (design section 4).
 */
export type DigestAlgorithm = 'xxh3-128' | 'sha256-128'

/** Digests the blocks of `bytes` one after another into `into`, 16 bytes each; the last block may be short. */
export type BlockDigester = (bytes: Uint8Array, blockSize: number, into: Uint8Array) => void

/** Makes the digester for a chain. XXH3's seed is 64 bits, given high half first as the manifest writes it. */
export async function createBlockDigester(kind: DigestKind): Promise<BlockDigester> {
  if (kind.algorithm === 'sha256-128') {
    return eachBlock(block => createHash('sha256').update(block).digest().subarray(0, DIGEST_BYTES))
  }
  const hasher = await hashWasm.createXXHash128(
    Number.parseInt(kind.seed.slice(8), 16),
    Number.parseInt(kind.seed.slice(0, 8), 16),
  )
  return eachBlock(block => hasher.init().update(block).digest('binary'))
}

function eachBlock(digest: (block: Uint8Array) => Uint8Array): BlockDigester {
  return (bytes, blockSize, into) => {
    let row = 0
    for (let at = 0; at < bytes.length; at += blockSize) {
      into.set(digest(bytes.subarray(at, Math.min(at + blockSize, bytes.length))), row)
      row += DIGEST_BYTES
    }
  }
}
