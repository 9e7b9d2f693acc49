import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  cpSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { compress } from 'zstd-napi'
import { createKeyFile } from '../../src/keys/key-file.js'
import { canonicalJson, prettyJson } from '../../src/repository/json.js'
import { type FakeRun, runFake } from '../cli/fake-io.js'

/** A repository with a full and an incr of a small database, and the command line for it within this process. */
export interface HostilePlace {
  directory: string
  repository: string
  database: string
  /** Ids, oldest first. */
  ids: string[]
  run(...args: string[]): Promise<FakeRun>
}

/** @param encrypted for a key file; its epoch was rotated once between the two backups */
export async function hostilePlace(encrypted: boolean): Promise<HostilePlace> {
  const directory = mkdtempSync(join(tmpdir(), 'nexus-backup-hostile-'))
  const database = join(directory, 'app.db')
  const repository = join(directory, 'repository')
  const flags = ['--sqlite', database, '--repo', repository, '--state', join(directory, 'state')]
  if (encrypted) {
    createKeyFile(join(directory, 'key'), new Date())
    flags.push('--key-file', join(directory, 'key'))
  }
  let looks = 0
  const now = () => new Date(Date.UTC(2025, 11, 1) + 1000 * looks++)
  const run = (...args: string[]) => runFake([...args, ...flags], { now })
  const ok = async (...args: string[]) => {
    const { status, stderr } = await run(...args)
    if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}: ${stderr}`)
  }
  change(database, 0)
  await ok('create', '--init', '--check', 'none')
  change(database, 1)
  if (encrypted) {
    const { status, stderr } = await runFake(['keys', 'rotate', ...flags.slice(2)], { now })
    if (status !== 0) throw new Error(stderr)
  }
  await ok('create', '--type', 'incr')
  await ok('verify')
  const ids = readdirSync(join(repository, 'app'))
    .filter(name => /^\d{8}T/.test(name))
    .sort()
  return { directory, repository, database, ids, run }
}

function change(path: string, generation: number): void {
  const database = new Database(path)
  database.exec('CREATE TABLE IF NOT EXISTS items (n INTEGER)')
  database.prepare('INSERT INTO items VALUES (?)').run(generation)
  database.close()
}

/** Puts something in an object's place. */
export interface Mutation {
  name: string
  put(path: string): void
}

const bytes = (name: string, change: (original: Buffer) => Uint8Array | string): Mutation => ({
  name,
  put: path => writeFileSync(path, change(readFileSync(path))),
})

/** Other bytes: nothing of it is what we write. */
export const garbled: Mutation[] = [
  bytes('nothing', () => ''),
  bytes('garbage', () => Buffer.from([0, 255, 10, 123, 200])),
  bytes('half of it', original => original.subarray(0, original.length / 2)),
  bytes('a flipped bit', original => {
    const copy = Buffer.from(original)
    const at = Math.floor(copy.length / 3)
    copy[at] = (copy[at] ?? 0) ^ 1
    return copy
  }),
  bytes('arrays in arrays', () => '['.repeat(60_000)),
  bytes('objects in objects', () => `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`),
  bytes('numbers beyond counting', () => '{"format":1,"id":1e308,"epoch":9223372036854775808,"sequence":-1}\n'),
  bytes('not a number', () => '{"format":NaN}\n'),
  bytes('a later format', () => '{\n  "format": 2\n}\n'),
  bytes('__proto__', () => '{\n  "__proto__": {\n    "format": 1\n  }\n}\n'),
  bytes('null', () => 'null\n'),
  bytes('what unpacks to megabytes', () => compress(Buffer.alloc(1 << 24))),
  {
    name: 'a hole of gigabytes',
    put(path) {
      const fd = openSync(path, 'r+')
      ftruncateSync(fd, 2 ** 34)
      closeSync(fd)
    },
  },
]

/** Other things than a file. */
export const misplaced: Mutation[] = [
  {
    name: 'a directory',
    put(path) {
      rmSync(path)
      mkdirSync(join(path, 'inner'), { recursive: true })
    },
  },
  {
    name: 'a link to what it was',
    put(path) {
      const away = join(tmpdir(), `nexus-backup-away-${process.pid}`)
      cpSync(path, away)
      rmSync(path)
      symlinkSync(away, path)
    },
  },
  {
    name: 'a pipe',
    put(path) {
      rmSync(path)
      execFileSync('mkfifo', [path])
    },
  },
]

const values: unknown[] = [
  null,
  -1,
  1e308,
  2 ** 63,
  'NaN',
  '',
  [],
  {},
  '9999-12-31T23:59:59.999Z',
  '2099-01-01T00:00:00.000Z',
  '0000-00-00T00:00:00Z',
  true,
  'x'.repeat(10_000),
]

/** Every field once with a value of another kind, and with the digest that fits: what somebody writes who knows the format. */
export function forged(original: Buffer, seed: number): Mutation[] {
  const document = JSON.parse(original.toString()) as Record<string, unknown>
  const { sha256: _, ...rest } = document
  return Object.keys(rest).map((field, number) => {
    const value = values[(seed + number * 5) % values.length]
    const changed = { ...rest, [field]: value }
    const sha256 = createHash('sha256').update(canonicalJson(changed)).digest('hex')
    return bytes(`${field} ${JSON.stringify(value)?.slice(0, 30)}`, () =>
      prettyJson('sha256' in document ? { ...changed, sha256 } : changed),
    )
  })
}

/** Makes SHA256SUMS of a backup fit its manifest, whatever that is. */
export function fitSums(manifest: string): void {
  const path = join(dirname(manifest), 'SHA256SUMS')
  const sum = createHash('sha256').update(readFileSync(manifest)).digest('hex')
  writeFileSync(path, readFileSync(path, 'utf8').replace(/^[0-9a-f]{64}(?= {2}manifest\.json$)/m, sum))
}

/** Everything in a repository but locks and proofs, which readers leave behind: names, and digests of files. */
export function stateOf(repository: string): Record<string, string> {
  const found = readdirSync(repository, { recursive: true, withFileTypes: true })
  const paths = found.map(entry => join(entry.parentPath, entry.name)).sort()
  const shown = paths.filter(path => !/\/(\.locks|proofs)(\/|$)/.test(path))
  return Object.fromEntries(shown.map(path => [path.slice(repository.length), digestOf(path)]))
}

function digestOf(path: string): string {
  const found = lstatSync(path)
  if (!found.isFile() || found.size > 1 << 24) return `${found.mode} ${found.size}`
  return createHash('sha256').update(readFileSync(path)).digest('hex')
}
