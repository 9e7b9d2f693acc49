import { keysDirectory } from './keys/key-layout.js'
import { checksumsFile, claimFile, proofsDirectory, repositoryFile } from './layout.js'

/** The root's own files. */
export const rootFiles = [repositoryFile, checksumsFile, 'RECOVER.txt', 'recover.mjs'] as const

/**
 * Whether a file belongs to no backup and is needed for restoring all the same, or tells of it what must not be lost: a
 * store that locks backups locks these with them.
 */
export function isCommon(name: string): boolean {
  if (rootFiles.some(own => own === name) || name.startsWith(`${keysDirectory}/`)) return true
  const [, second, ...rest] = name.split('/')
  return (second === claimFile && rest.length === 0) || second === proofsDirectory
}
