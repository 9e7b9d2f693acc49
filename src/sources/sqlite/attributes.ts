import { fstatSync } from 'node:fs'
import { errnoOf } from '../../errors.js'
import { noSecrets } from '../../secret-variables.js'
import { descriptorPath } from '../../system/held-directory.js'
import { givesFilesAway, giveWhatCan, onDescriptor, onDescriptorAsync } from '../../system/ownership.js'

/** Set-user-id and the like are never a database's. */
const PERMISSIONS = 0o777
/** As a staged file is made. */
const RESTORED_MODE = 0o600

/**
 * Gives a restored file the owner, mode and extended attributes of the one it replaces; where nothing is replaced, the
 * mode and, for root, the owner that the backup recorded. Node knows no extended attributes, coreutils' `cp` does.
 *
 * @returns what could not be kept, in words
 */
export async function keepAttributes(
  restored: string,
  replaces: string | null,
  facts: Record<string, unknown>,
): Promise<string[]> {
  if (replaces !== null) {
    return onDescriptorAsync(replaces, source => onDescriptorAsync(restored, fd => copyAttributes(source, fd)))
  }
  const { uid, gid, mode } = facts
  const owner = givesFilesAway() && isId(uid) && isId(gid) ? { uid, gid } : null
  const wanted = typeof mode === 'number' ? mode & PERMISSIONS : RESTORED_MODE
  return onDescriptor(restored, 0, fd => giveWhatCan(fd, owner, wanted))
}

/** As `keepAttributes` between two open files; a database that is locked must not be opened and closed again for it. */
export async function copyAttributes(source: number, restored: number): Promise<string[]> {
  const [from, to] = [descriptorPath(source), descriptorPath(restored)]
  if (from !== undefined && to !== undefined) await copyExtended(from, to)
  // After them: the owner and mode of what is replaced matter most.
  const found = fstatSync(source)
  return giveWhatCan(restored, found, found.mode & PERMISSIONS)
}

/** A cp that is not GNU's, or a file system without extended attributes, keeps none. */
async function copyExtended(from: string, to: string): Promise<void> {
  const { execa } = await import('execa')
  try {
    await execa('cp', ['--attributes-only', '--preserve=mode,xattr', '--', from, to], {
      env: noSecrets,
      stdin: 'ignore',
    })
  } catch (error) {
    if (errnoOf(error) !== undefined && errnoOf(error) !== 'ENOENT') throw error
  }
}

/** An id from a manifest: any whole number the kernel takes, but not "leave it" (2^32 - 1). */
function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 0xffff_ffff
}
