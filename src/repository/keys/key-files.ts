import { mapParallel } from '../parallel.js'
import type { Storage } from '../storage/storage.js'
import { keysDirectory } from './key-layout.js'

/** Directories of `keys` lie no deeper: `hosts/SIGNER/EPOCH.json`, `EPOCH/recipients/ID.json`. */
const DEEPEST = 3

/**
 * The names of all files below `keys`, in an order in which they can be written: recipients come before the epoch that
 * they open, without which they count for nothing, and what makes an epoch count comes last.
 */
export async function keyFiles(storage: Pick<Storage, 'list' | 'listBelow'>): Promise<string[]> {
  const below = await storage.listBelow?.(keysDirectory)
  const found = below?.filter(name => !isHidden(name)).map(name => `${keysDirectory}/${name}`)
  return inWritingOrder(found ?? (await filesBelow(storage, keysDirectory, DEEPEST)))
}

/** What begins with a dot is the lock of a run that changes the keys, or what a killed one left of a file. */
function isHidden(path: string): boolean {
  const names = path.split('/')
  return names.length > DEEPEST + 1 || names.some(name => name.startsWith('.'))
}

/** Names below `keys` in the order in which they can be written. */
export function inWritingOrder(names: readonly string[]): string[] {
  return [...names].sort((a, b) => rankOf(a) - rankOf(b) || (a < b ? -1 : 1))
}

function rankOf(name: string): number {
  return ['/epoch.json', '/next.json', '/first.json'].findIndex(end => name.endsWith(end))
}

async function filesBelow(storage: Pick<Storage, 'list'>, directory: string, depth: number): Promise<string[]> {
  const found = (await storage.list(directory)).filter(({ name }) => !isHidden(name))
  const files = found.filter(({ kind }) => kind === 'file').map(({ name }) => `${directory}/${name}`)
  const directories = found.filter(({ kind }) => kind === 'directory').map(({ name }) => `${directory}/${name}`)
  if (depth === 0) return files
  const below = await mapParallel(directories, 8, name => filesBelow(storage, name, depth - 1))
  return [...below.flat(), ...files]
}
