import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import type { TreePaths } from '../../../src/image/tree/tree.js'
import type { CarriedFile, TreeEntry, TreeInput } from '../../../src/image/tree/types.js'

/** A file of a tree as a test thinks of it: `id` stays with it when it is renamed, as an inode does. */
export interface ModelFile {
  id: number
  content: Buffer
  mode: number
  mtime: number
  sparse: boolean
}

/** A tree as a test thinks of it. */
export interface Model {
  files: Map<string, ModelFile>
  symlinks: Map<string, string>
  /** Path of the link to path of the file. */
  hardlinks: Map<string, string>
}

/** Lays a model out on disk. */
export function layOut(model: Model, root: string): void {
  mkdirSync(root)
  const place = (path: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    return join(root, path)
  }
  for (const [path, { content, mode }] of model.files) {
    writeFileSync(place(path), content)
    chmodSync(join(root, path), mode)
  }
  for (const [path, target] of model.hardlinks) linkSync(join(root, target), place(path))
  for (const [path, target] of model.symlinks) symlinkSync(target, place(path))
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).sort().reverse()
  for (const name of names) {
    const time = model.files.get(name)?.mtime ?? 1_500_000_000 + name.length
    if (!model.hardlinks.has(name)) lutimesSync(join(root, name), time, time)
  }
}

/** A tar archive by GNU tar of what lies in `root`, without some of it. */
export function archiveOf(root: string, without: ReadonlySet<string>, archive: string, format: string): void {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(name => !without.has(name))
  const list = ['.', ...names.sort()].map(name => `./${name}\0`).join('')
  // ustar has no room for a link to a longer name.
  const able = format === 'ustar' && names.some(name => name.length > 90) ? 'pax' : format
  const how = ['-C', root, '-cf', archive, `--format=${able}`, '--no-recursion', '--null', '-T', '-']
  execFileSync('tar', how, { input: list })
}

/**
 * The input of a capture: some files are carried, and any other continues the parent's file of its id, whatever that
 * was called.
 * @param carried paths, with the file of the parent that each is
 */
export function inputOf(
  model: Model,
  options: {
    tar: AsyncIterable<Uint8Array>
    before: TreePaths | null
    carried: ReadonlyMap<string, number>
    blockSize: number
  },
): TreeInput {
  const known = filesById(options.before)
  const carried = [...options.carried].map(([path, base]): CarriedFile => {
    const file = model.files.get(path)
    if (file === undefined) throw new Error(`${path} is no file`)
    const { mode, mtime, sparse, id, content } = file
    const owner = { uid: 0, gid: 0, owner: '', group: '' }
    const rest = { size: content.length, link: '', sparse, base, facts: { id } }
    return { entry: { path, type: 'file', mode, ...owner, mtime, ...rest } }
  })
  const describe = (entry: TreeEntry) => {
    const file = model.files.get(entry.path)
    if (file === undefined) return entry
    return { ...entry, sparse: file.sparse, base: known.get(file.id) ?? entry.base, facts: { id: file.id } }
  }
  return { blockSize: options.blockSize, carried, tar: options.tar, describe }
}

/** Numbers of a tree's files by the id that `inputOf` kept with them. */
export function filesById(tree: TreePaths | null): Map<unknown, number> {
  const known = new Map<unknown, number>()
  for (let file = 0; tree !== null && file < tree.count; file += 1) known.set(tree.fileEntry(file).facts.id, file)
  return known
}

/** Everything that a directory holds, to be compared; times in whole microseconds, hard links by their first name. */
export function looked(root: string): Record<string, unknown> {
  const found: Record<string, unknown> = {}
  const firstNames = new Map<number, string>()
  for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' }).sort()) {
    const path = join(root, name)
    const stat = lstatSync(path)
    const common = { mode: stat.mode, mtime: Math.round(stat.mtimeMs * 1000), uid: stat.uid, gid: stat.gid }
    if (stat.isSymbolicLink()) found[name] = { ...common, link: readlinkSync(path) }
    else if (stat.isDirectory()) found[name] = common
    else {
      const first = firstNames.get(stat.ino) ?? name
      firstNames.set(stat.ino, first)
      found[name] = { ...common, content: readFileSync(path).toString('latin1'), first }
    }
  }
  return found
}
