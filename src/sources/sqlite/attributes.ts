import { chmodSync, chownSync, statSync } from 'node:fs'
import { errnoOf } from '../../errors.js'
import { noSecrets } from '../../secret-variables.js'

/**
 * Gives a restored file the owner, mode and extended attributes of the one it replaces; where nothing is replaced, the
 * mode and, for root, the owner that the backup recorded. Node knows no extended attributes, coreutils' `cp` does.
 */
export async function keepAttributes(
  restored: string,
  replaces: string | null,
  facts: Record<string, unknown>,
): Promise<void> {
  if (replaces !== null) {
    await copyAttributes(replaces, restored)
    return
  }
  const { uid, gid, mode } = facts
  if (typeof mode === 'number') chmodSync(restored, mode & 0o777)
  if (process.geteuid?.() === 0 && isId(uid) && isId(gid)) chownSync(restored, uid, gid)
}

async function copyAttributes(from: string, to: string): Promise<void> {
  const { execa } = await import('execa')
  try {
    await execa('cp', ['--attributes-only', '--preserve=mode,ownership,xattr', '--', from, to], {
      env: noSecrets,
      stdin: 'ignore',
    })
  } catch (error) {
    // A cp that is not GNU's, or a file system without extended attributes: owner and mode matter most.
    if (errnoOf(error) !== undefined && errnoOf(error) !== 'ENOENT') throw error
    const { uid, gid, mode } = statSync(from)
    chownSync(to, uid, gid)
    chmodSync(to, mode & 0o7777)
  }
}

/** An id from a manifest: any whole number the kernel takes, but not "leave it" (2^32 - 1). */
function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 0xffff_ffff
}
