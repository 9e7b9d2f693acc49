import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { createXXHash128 } from 'hash-wasm'
import { describe, expect, test } from 'vitest'
import { temporaryDirectory } from '../helpers/temporary.js'

// A reader written from nexus-backup-repository(5) alone. It shares no code with the product on purpose: when it has to
// change, the format or its description has changed.

interface Stored {
  id: string
  sequence: number
  type: string
  parent: string | null
  files: { path: string; size: number; block_size: number }[]
  digest_algorithm: string
  digest_seed: string
  image_digest: string
  blocks_total: number
  blocks_stored: number
  parts: { name: string; bytes: number; sha256: string; role: string }[]
}

function ensure(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(message)
}

const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex')

/** SHA256SUMS: one way to write it, every other file of the directory and nothing else. */
function checkedSums(directory: string): Map<string, string> {
  const text = readFileSync(join(directory, 'SHA256SUMS'), 'utf8')
  ensure(text.endsWith('\n'), 'the last line has no end')
  const rows = text
    .slice(0, -1)
    .split('\n')
    .map(row => /^([0-9a-f]{64}) {2}([^/\\]+)$/.exec(row))
  const sums = new Map(rows.map(row => [row?.[2] ?? '', row?.[1] ?? '']))
  const names = [...sums.keys()]
  const ordered = [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  ensure(!sums.has('') && sums.size === rows.length && names.join() === ordered.join(), 'not the canonical form')
  for (const [name, sum] of sums) {
    ensure(lstatSync(join(directory, name)).isFile(), `${name} is no plain file`)
    ensure(sha256(readFileSync(join(directory, name))) === sum, `${name} is damaged`)
  }
  return sums
}

function readBackup(directory: string): Stored {
  const sums = checkedSums(directory)
  const manifest = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8'))
  ensure(manifest.format === 1, 'another format')
  ensure(manifest.id === basename(directory) && manifest.source === basename(dirname(directory)), 'in the wrong place')
  const expected = ['SHA256SUMS', 'manifest.json', ...manifest.parts.map((part: { name: string }) => part.name)].sort()
  expect(readdirSync(directory).sort()).toEqual(expected)
  for (const part of manifest.parts) {
    ensure(sums.get(part.name) === part.sha256, 'the manifest and SHA256SUMS differ')
    ensure(lstatSync(join(directory, part.name)).size === part.bytes, 'a part has another size')
  }
  return manifest
}

interface Placed {
  file: number
  first: number
  count: number
  offset: number
  digests: Buffer
}

function* readIndex(index: Buffer): Generator<{ stored: number; plain: number; runs: Placed[] }> {
  ensure(index.toString('latin1', 0, 8) === 'NXBKIDX1', 'no index')
  ensure(index.readUInt32LE(8) === 16 && index.readUInt32LE(12) === 0, 'another header')
  let at = 16
  let frames = 0n
  let blocks = 0n
  while (index.readUInt32LE(at) !== 0) {
    const [stored, plain, count] = [index.readUInt32LE(at), index.readUInt32LE(at + 4), index.readUInt32LE(at + 8)]
    at += 12
    const runs: Placed[] = []
    for (let run = 0; run < count; run += 1, at += 24) {
      const [file, many] = [index.readUInt32LE(at), index.readUInt32LE(at + 4)]
      ensure(index.readUInt32LE(at + 20) === 0, 'the end of a run is not zero')
      const first = Number(index.readBigUInt64LE(at + 8))
      runs.push({ file, first, count: many, offset: index.readUInt32LE(at + 16), digests: Buffer.alloc(0) })
    }
    for (const run of runs) {
      run.digests = index.subarray(at, at + 16 * run.count)
      at += 16 * run.count
      blocks += BigInt(run.count)
    }
    frames += 1n
    yield { stored, plain, runs }
  }
  ensure(
    index.subarray(at, at + 12).every(byte => byte === 0),
    'the end has another beginning',
  )
  ensure(index.readBigUInt64LE(at + 12) === frames && index.readBigUInt64LE(at + 20) === blocks, 'other counts')
  ensure(index.toString('latin1', at + 28) === 'NXBKEND1', 'no end')
}

async function digester({ digest_algorithm: algorithm, digest_seed: seed }: Stored) {
  if (algorithm === 'sha256-128') return (block: Buffer) => createHash('sha256').update(block).digest().subarray(0, 16)
  const [high, low] = [Number.parseInt(seed.slice(0, 8), 16), Number.parseInt(seed.slice(8), 16)]
  const hasher = await createXXHash128(low, high)
  return (block: Buffer) => Buffer.from(hasher.init().update(block).digest('hex'), 'hex')
}

/** The only file of the image of the backup in `directory`. */
async function recover(directory: string): Promise<Buffer> {
  const chain: { directory: string; manifest: Stored }[] = []
  for (let next = directory; ; ) {
    const manifest = readBackup(next)
    ensure((chain[0]?.manifest.sequence ?? Number.POSITIVE_INFINITY) > manifest.sequence, 'the parent is not older')
    chain.unshift({ directory: next, manifest })
    if (manifest.type === 'full') break
    ensure(manifest.parent, 'no parent')
    next = join(dirname(next), manifest.parent)
  }
  const newest = chain.at(-1)?.manifest
  const target = newest?.files[0]
  ensure(newest && target && newest.files.length === 1, 'not one file')
  const image = Buffer.alloc(target.size)
  const table = Buffer.alloc(16 * newest.blocks_total)
  for (const member of chain) {
    const digest = await digester(member.manifest)
    const part = (role: string) => {
      const found = member.manifest.parts.find(candidate => candidate.role === role)
      return readFileSync(join(member.directory, found?.name ?? ''))
    }
    const frames = part(member.manifest.type === 'full' ? 'image' : 'blocks')
    let position = 0
    for (const { stored, plain, runs } of readIndex(part('index'))) {
      const frame = frames.subarray(position, position + stored)
      const bytes = execFileSync('zstd', ['-d', '-c', '-q'], { input: frame, maxBuffer: 32 * 1024 * 1024 })
      ensure(bytes.length === plain, 'a frame has another length')
      position += stored
      for (const run of runs) {
        const file = member.manifest.files[run.file]
        ensure(file, 'no such file')
        for (let block = 0; block < run.count; block += 1) {
          const start = (run.first + block) * file.block_size
          const offset = run.offset + block * file.block_size
          const content = bytes.subarray(offset, offset + Math.min(file.block_size, file.size - start))
          const expected = run.digests.subarray(16 * block, 16 * block + 16)
          ensure(digest(content).equals(expected), `block ${run.first + block} differs from its digest`)
          if (start >= target.size) continue
          content.copy(image, start)
          expected.copy(table, 16 * (run.first + block))
        }
      }
    }
    ensure(position === frames.length, 'the index does not fit')
  }
  ensure(sha256(table) === newest.image_digest, 'the image digest differs')
  return image
}

/** JSON without white space and with keys in order. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${fields.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join(',')}}`
}

const program = fileURLToPath(new URL('../../bin/nexus-backup', import.meta.url))

interface Bench {
  base: string
  database: string
  room: string
  create(type: string): { directory: string; image: Buffer }
}

/** A database and a repository; `create` makes a backup and tells where it lies and which bytes it must give. */
function bench(config: string | undefined): Bench {
  const base = temporaryDirectory()
  const database = join(base, 'itsm.db')
  const room = join(base, 'repo', 'itsm')
  const flags = ['--repo', join(base, 'repo'), '--state', join(base, 'state'), '--init']
  const source = config === undefined ? ['--sqlite', database] : ['--config', join(base, config)]
  return {
    base,
    database,
    room,
    create(type) {
      const args = [program, 'create', '--type', type, '--json', ...source, ...flags]
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
      const [made] = JSON.parse(stdout).backups
      expect(made.type).toBe(type)
      const copy = join(base, 'copy')
      copyFileSync(database, copy)
      return { directory: join(room, made.id), image: readFileSync(copy) }
    },
  }
}

/** Fills, changes, grows and shrinks a database, with a backup of the given type at each step. */
function history({ database, create }: Bench) {
  const db = new Database(database)
  try {
    db.exec('PRAGMA journal_mode = WAL; CREATE TABLE incidents (id INTEGER PRIMARY KEY, note BLOB)')
    const step = (sql: string, type: string) => {
      db.exec(`${sql}; PRAGMA wal_checkpoint(TRUNCATE)`)
      return create(type)
    }
    const rows = (count: number) =>
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
       INSERT INTO incidents (note) SELECT randomblob(900) FROM n`
    return [
      step(rows(3000), 'full'),
      step('UPDATE incidents SET note = randomblob(900) WHERE id % 97 = 0', 'incr'),
      step(rows(800), 'diff'),
      step('DELETE FROM incidents WHERE id > 1000; VACUUM', 'incr'),
      step('SELECT 1', 'incr'),
    ]
  } finally {
    db.close()
  }
}

describe('a second reader, written from nexus-backup-repository(5) alone', () => {
  test('recovers a full, a diff and incrs of a database that changed, grew, shrank and stood still', async () => {
    const backups = history(bench(undefined))
    for (const { directory, image } of backups) expect((await recover(directory)).equals(image)).toBe(true)
    const [full] = backups
    ensure(full, 'no full')
    const unpacked = execFileSync('zstd', ['-dc', join(full.directory, 'itsm.db.zst')], { maxBuffer: 64 * 1024 * 1024 })
    expect(unpacked.equals(full.image)).toBe(true)
  })

  test('recovers a chain with digests of SHA-256, and the digests of claim and proofs are as the page says', async () => {
    const made = bench('config.yaml')
    const yaml = `repositories: { here: { path: ${join(made.base, 'repo')} } }
sources: { itsm: { kind: sqlite, path: ${made.database}, digest: sha256-128 } }
`
    writeFileSync(join(made.base, 'config.yaml'), yaml)
    for (const { directory, image } of history(made)) {
      expect(readBackup(directory).digest_algorithm).toBe('sha256-128')
      expect((await recover(directory)).equals(image)).toBe(true)
    }
    const { status } = spawnSync(process.execPath, [
      program,
      'verify',
      '--repo',
      join(made.base, 'repo'),
      '--state',
      made.base,
    ])
    expect(status).toBe(0)
    const proofs = readdirSync(join(made.room, 'proofs')).map(name => join('proofs', name))
    expect(proofs).toHaveLength(5)
    for (const name of ['source.json', ...proofs]) {
      const text = readFileSync(join(made.room, name), 'utf8')
      const { sha256: digest, ...document } = JSON.parse(text)
      expect(sha256(canonical(document))).toBe(digest)
      expect(text).toBe(`${JSON.stringify({ ...document, sha256: digest }, null, 2)}\n`)
    }
    expect([...checkedSums(join(made.base, 'repo')).keys()]).toEqual([
      'RECOVER.txt',
      'nexus-backup.json',
      'recover.mjs',
    ])
  })
})
