import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Everything that a restore must give back, by path; times in nanoseconds. */
export interface Portrait {
  entries: Record<string, string>
  times: Record<string, bigint>
}

export function portrait(root: string): Portrait {
  const inodes = new Map<bigint, string>()
  const { entries, times }: Portrait = { entries: {}, times: {} }
  function look(name: string): void {
    const path = join(root, name)
    const stats = lstatSync(path, { bigint: true })
    const { mode, uid, gid, ino, nlink } = stats
    const owner = `${(mode & 0o7777n).toString(8)} ${uid}:${gid}`
    const first = inodes.get(ino)
    if (!stats.isSymbolicLink()) times[name] = stats.mtimeNs
    if (stats.isSymbolicLink()) entries[name] = `${uid}:${gid} -> ${readlinkSync(path)}`
    else if (stats.isDirectory()) {
      entries[name] = `directory ${owner}`
      for (const child of readdirSync(path)) look(join(name, child))
    } else if (nlink > 1n && first !== undefined) entries[name] = `same as ${first}`
    else {
      inodes.set(ino, name)
      const digest = createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 16)
      entries[name] = `${owner} ${stats.size} ${digest}`
    }
  }
  look('.')
  return { entries, times }
}

/** Node sets times to the microsecond, from a number of seconds that is exact to a quarter of one. */
const TIME_ERROR = 2000n

/** What differs between two portraits; empty when the trees are the same. */
export function differences(actual: Portrait, expected: Portrait): string[] {
  const names = new Set([...Object.keys(actual.entries), ...Object.keys(expected.entries)])
  return [...names].flatMap(name => {
    const [is, was] = [actual.entries[name], expected.entries[name]]
    if (is !== was) return [`${name}: ${is ?? 'missing'} instead of ${was ?? 'nothing'}`]
    const error = (actual.times[name] ?? 0n) - (expected.times[name] ?? 0n)
    return error > TIME_ERROR || error < -TIME_ERROR ? [`${name}: its time is ${error} ns off`] : []
  })
}

/** What a stream yields, whole. */
export async function gathered(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Lets GNU tar unpack an archive. */
export function unpack(tar: Uint8Array, into: string): void {
  const file = join(into, '.archive.tar')
  writeFileSync(file, tar)
  execFileSync('tar', ['--same-permissions', '--extract', '--file', file, '--directory', into])
  execFileSync('rm', [file])
}

export const isRoot = process.getuid?.() === 0

/** Bytes that do not repeat, the same for the same seed. */
export function noise(bytes: number, seed: number): Buffer {
  const result = Buffer.alloc(bytes)
  let state = seed * 2654435761 + 1
  for (let at = 0; at < bytes; at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    result[at] = state >>> 24
  }
  return result
}
