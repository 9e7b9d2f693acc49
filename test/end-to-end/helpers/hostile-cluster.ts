import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { runFake } from '../../cli/fake-io.js'
import { kindEnvironment, type TestRepository, testRepository } from '../../helpers/repository-kind.js'
import { idsIn, storedIn } from '../../helpers/stored.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { SOURCE } from './cluster.js'
import { digestOf } from './kills.js'
import { type Finished, run } from './run.js'

// biome-ignore lint/suspicious/noExplicitAny: it is made to be wrong
export type Wrong = any

/** A copy of a cluster's repository whose writer means harm: every checksum fits. */
export interface HostileCluster extends TestRepository {
  directory: string
  /** A directory with a file, which nothing may touch. */
  outside: string
  /** A full and an incr. */
  ids: string[]
  /** Changes the list of entries of a backup. */
  entries(index: number, change: (entries: Wrong[]) => void): void
  /** Puts other bytes in place of the list of entries, compressed. */
  tree(index: number, plain: Buffer | { packed: Buffer }): void
  manifest(index: number, change: (manifest: Wrong) => void): void
}

/** @param template repository with a full and an incr of a cluster */
export function hostileCluster(template: TestRepository): HostileCluster {
  const directory = temporaryDirectory()
  const { keyFile } = template
  const { repository } = testRepository(join(directory, 'repository'), keyFile ?? '')
  const outside = join(directory, 'outside')
  const stored = storedIn(repository)
  storedIn(template.repository).copyTo(repository)
  mkdirSync(outside)
  writeFileSync(join(outside, 'file'), 'not yours')
  const ids = idsIn(repository, SOURCE)
  const file = (index: number, name: string) => `${SOURCE}/${ids[index]}/${name}`
  const summed = (index: number, name: string, bytes: Buffer) => {
    stored.write(file(index, name), bytes)
    const sums = stored.read(file(index, 'SHA256SUMS')).toString()
    const line = new RegExp(`^[0-9a-f]{64}(?= {2}${name.replaceAll('.', '\\.')}$)`, 'm')
    stored.write(file(index, 'SHA256SUMS'), sums.replace(line, sha256(bytes)))
  }
  const manifest: HostileCluster['manifest'] = (index, change) => {
    const value = JSON.parse(stored.read(file(index, 'manifest.json')).toString())
    change(value)
    summed(index, 'manifest.json', Buffer.from(`${JSON.stringify(value, null, 2)}\n`))
  }
  const tree: HostileCluster['tree'] = (index, plain) => {
    const packed = 'packed' in plain ? plain.packed : zstd(['-c'], plain)
    summed(index, 'tree.jsonl.zst', packed)
    manifest(index, value => {
      const part = value.parts.find(({ role }: { role: string }) => role === 'tree')
      value.bytes_stored += packed.length - part.bytes
      Object.assign(part, { bytes: packed.length, sha256: sha256(packed) })
    })
  }
  return {
    directory,
    repository,
    keyFile,
    outside,
    ids,
    tree,
    manifest,
    entries(index, change) {
      const lines = zstd(['-d', '-c'], stored.read(file(index, 'tree.jsonl.zst'))).toString()
      const entries = lines
        .trim()
        .split('\n')
        .map(line => JSON.parse(line))
      change(entries)
      tree(index, Buffer.from(entries.map(entry => `${JSON.stringify(entry)}\n`).join('')))
      // What the manifest counts is made to fit: it is the entries themselves that must be found out.
      manifest(index, value => {
        const files = entries.filter(({ type }) => type === 'file')
        Object.assign(value.tree, { entries: entries.length, files: files.length })
      })
    },
  }
}

/** How a command is run on a hostile copy: by a process that has little memory, or faster, where none is at stake. */
export type Runner = (
  at: HostileCluster,
  args: readonly string[],
) => Promise<Pick<Finished, 'code' | 'signal' | 'stderr'>>

/**
 * restore, verify and recover.mjs all say that it is damaged, quickly and in little memory, and leave nothing behind but
 * what recover.mjs says it leaves; nothing outside is touched.
 */
export async function expectRefused(at: HostileCluster, index: number, runner: Runner): Promise<void> {
  const id = at.ids[index] ?? ''
  const target = join(at.directory, 'restored')
  const before = portrait(at)
  for (const args of [['restore', id, '--to', target], ['verify']]) expectDamage(await runner(at, args))
  expect(readdirSync(at.directory).filter(name => name.includes('restored'))).toEqual([])
  const { status, signal, stderr } = recovering(at, id, target)
  expect({ status, signal, stderr }).toMatchObject({ status: 1, signal: null })
  expect(stderr).toMatch(/^recover: [^\n]+\n$/)
  expect(existsSync(target)).toBe(false)
  expect(portrait(at)).toEqual(before)
}

/** Runs nexus-backup on the copy, in so little memory that being exhausted shows. */
export function command(at: HostileCluster, args: readonly string[]): Promise<Finished> {
  return run([...args, ...flagsOf(at)], { node: LITTLE_MEMORY })
}

/** The same within this process: one of their own for each of the many cases would take too long. */
export const within: Runner = async (at, args) => {
  const { status, stderr } = await runFake([...args, ...flagsOf(at)], { env: kindEnvironment })
  return { code: status, signal: null, stderr }
}

function flagsOf({ repository, keyFile, directory }: HostileCluster): string[] {
  const key = keyFile === undefined ? [] : ['--key-file', keyFile]
  return [...key, '--config', '/dev/null', '--repo', repository, '--state', join(directory, 'state')]
}

export function expectDamage({ code, signal, stderr }: Pick<Finished, 'code' | 'signal' | 'stderr'>): void {
  expect({ code, signal, stderr }).toMatchObject({ code: 4, signal: null })
  expect(stderr).not.toMatch(/defect|^ +at /m)
}

/** Runs the copy's own recover.mjs. */
export function recovering(at: HostileCluster, id: string, target: string) {
  const here = storedIn(at.repository).asDirectory()
  const args = [...LITTLE_MEMORY, join(here, 'recover.mjs'), join(here, SOURCE, id), target]
  return spawnSync(process.execPath, args, { encoding: 'utf8' })
}

const LITTLE_MEMORY = ['--max-old-space-size=256']

/** Everything that lies around, but for what was recovered half and the state. */
function portrait({ directory, outside }: HostileCluster): unknown {
  const names = readdirSync(directory).filter(name => !['state', 'restored.partial'].includes(name))
  return [names.sort(), readdirSync(outside), digestOf(join(outside, 'file'))]
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function zstd(args: string[], input: Buffer): Buffer {
  return execFileSync('zstd', ['-q', ...args], { input, maxBuffer: 1 << 28 })
}
