import { createHash } from 'node:crypto'
import { messageOf, NexusError } from '../errors.js'
import { checksumsLimit, parseChecksums } from './checksums.js'
import { checksumsFile, repositoryFile } from './layout.js'
import type { Storage } from './storage/storage.js'

/** Bytes one of the root's own files may have. */
export const rootFileLimit = 4 * 1024 * 1024
const covered = ['RECOVER.txt', 'recover.mjs', repositoryFile]

/**
 * Compares the repository's own files with the root's SHA256SUMS. Empty when all is well. Another run may renew them
 * meanwhile, so what differs is looked at again.
 */
export async function checkRootFiles(storage: Storage): Promise<{ part: string; problem: string }[]> {
  const findings = await lookAtRoot(storage)
  return findings.length === 0 ? findings : lookAtRoot(storage)
}

async function lookAtRoot(storage: Storage): Promise<{ part: string; problem: string }[]> {
  const findings: { part: string; problem: string }[] = []
  const sums = await found(checksumsFile, async () =>
    parseChecksums(await storage.readSmall(checksumsFile, checksumsLimit), checksumsFile),
  )
  for (const name of covered) {
    await found(name, async () => {
      const actual = sha256Of(await storage.readSmall(name, rootFileLimit))
      if (sums && sums.get(name) !== actual) throw differs(name)
    })
  }
  for (const { name, kind } of await storage.list('')) {
    // A linked source would be passed over as if it were not there.
    if (kind === 'other')
      findings.push({ part: name, problem: 'is neither a file nor a directory; links are never followed' })
  }
  return findings

  async function found<T>(part: string, check: () => Promise<T>): Promise<T | undefined> {
    try {
      return await check()
    } catch (error) {
      if (!(error instanceof NexusError) || (error.kind !== 'damage' && error.kind !== 'not-found')) throw error
      findings.push({ part, problem: messageOf(error) })
      return undefined
    }
  }
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function differs(name: string): NexusError {
  return new NexusError('damage', 'root_file_damaged', `the SHA-256 of ${name} differs from ${checksumsFile}`)
}
