import { randomBytes } from 'node:crypto'
import { renameSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { noSecrets } from '../secret-variables.js'
import { byShortPath } from './long-paths.js'

/** A pipe or a device that is to be made. */
export interface SpecialFile {
  /** Absolute. */
  path: string
  /** `character-device`, `block-device`; anything else is a pipe. */
  type: string
  device: { major: number; minor: number } | undefined
}

/**
 * Makes a pipe or a device, mode 0600. Node has no mknod(2), so the program of that name does it. It makes the file under
 * a name of letters, for a program's arguments hold no bytes that are not UTF-8, and none would lead it astray.
 *
 * @param directory of ours alone, on the same file system
 * @throws an error with the program's words, or with the system's `code`
 */
export async function makeSpecial(directory: string, { path, type, device }: SpecialFile): Promise<void> {
  const { execa } = await import('execa')
  const name = join(directory, `.special-${randomBytes(8).toString('hex')}`)
  const kind = type === 'character-device' ? 'c' : type === 'block-device' ? 'b' : 'p'
  const numbers = device === undefined ? [] : [String(device.major), String(device.minor)]
  const options = { env: { ...noSecrets, LC_ALL: 'C' }, reject: false } as const
  const { failed, stderr, shortMessage } = await execa('mknod', ['-m', '600', '--', name, kind, ...numbers], options)
  if (failed) throw new Error(`mknod: ${lastWords(stderr) ?? shortMessage}`)
  try {
    byShortPath(path, at => renameSync(name, at))
  } catch (error) {
    unlinkSync(name)
    throw error
  }
}

/** "mknod: NAME: Operation not permitted" without what it was called. */
function lastWords(text: string): string | undefined {
  return text.trim().split('\n').at(-1)?.split(': ').at(-1) || undefined
}
