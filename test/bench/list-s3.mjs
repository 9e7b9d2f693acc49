#!/usr/bin/env node
// Requests and seconds of `list` over 10,000 backups in a bucket: without a summary, and with one (design section 5).
//
//   npm run build && AWS_ENDPOINT_URL_S3=… AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… node test/bench/list-s3.mjs BUCKET [COUNT]
//
// The bucket must exist; what is made there lies below a prefix of its own and stays.
import { createHash, randomBytes } from 'node:crypto'
import { subscribe } from 'node:diagnostics_channel'
import { initRepository, openRepository } from '../../dist/repository/open.js'

const [bucket, count = '10000'] = process.argv.slice(2)
if (bucket === undefined) throw new Error('name a bucket')
const prefix = `bench-${randomBytes(4).toString('hex')}`
const s3 = { bucket, prefix, endpoint: process.env.AWS_ENDPOINT_URL_S3 }
const place = { path: `s3://${bucket}/${prefix}`, s3 }
let requests = 0
subscribe('http.client.request.start', () => {
  requests += 1
})

async function measured(what, work) {
  const began = performance.now()
  const before = requests
  const result = await work()
  const seconds = ((performance.now() - began) / 1000).toFixed(2)
  process.stdout.write(`${what}: ${requests - before} requests, ${seconds} s\n`)
  return result
}

function backup(sequence) {
  const at = new Date(Date.UTC(2025, 0, 1) + sequence * 3_600_000)
  const type = sequence % 100 === 1 ? 'full' : 'incr'
  const id = idOf(sequence)
  const parts = ['blocks.zst', 'blocks.idx'].map(name => {
    const role = name.endsWith('idx') ? 'index' : 'blocks'
    return { name, role, bytes: 1000, sha256: createHash('sha256').update(name).digest('hex') }
  })
  const manifest = {
    ...{ format: 1, id, sequence, run_id: 'bench', source: 'itsm', kind: 'sqlite', host: 'db1' },
    ...{ operator: { user: 'root', sudo_user: null }, type, parent: type === 'full' ? null : idOf(sequence - 1) },
    ...{ captured_at: at.toISOString(), keep_until: null, label: null, versions: { 'nexus-backup': '0.1.0' } },
    ...{ files: [{ path: 'itsm.db', size: 4096, block_size: 4096 }], digest_algorithm: 'xxh3-128' },
    ...{ digest_seed: '00'.repeat(8), image_digest: '00'.repeat(32), parts, checks: [], damaged_source: false },
    ...{
      bytes_source: 4096,
      bytes_stored: 2000,
      blocks_total: 1,
      blocks_stored: 1,
      duration_ms: 1,
      warnings: [],
      facts: {},
    },
  }
  const text = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`)
  const sums = [...parts, { name: 'manifest.json', sha256: createHash('sha256').update(text).digest('hex') }]
  const lines = sums.sort((a, b) => (a.name < b.name ? -1 : 1)).map(({ name, sha256 }) => `${sha256}  ${name}\n`)
  return { id, files: { 'manifest.json': text, SHA256SUMS: Buffer.from(lines.join('')) } }
}

function idOf(sequence) {
  const at = new Date(Date.UTC(2025, 0, 1) + sequence * 3_600_000).toISOString().replaceAll('-', '').replaceAll(':', '')
  return `${at}-${sequence % 100 === 1 ? 'full' : 'incr'}-${String(sequence % 10000).padStart(4, '0')}`
}

const repository = await initRepository(place, { now: new Date() })
await repository.storage.writeOnce('itsm/source.json', Buffer.from('{}'))
const numbers = Array.from({ length: Number(count) }, (_, n) => n + 1)[Symbol.iterator]()
await measured(`writing ${count} backups`, () =>
  Promise.all(
    Array.from({ length: 32 }, async () => {
      for (const number of numbers) {
        const { id, files } = backup(number)
        for (const [name, bytes] of Object.entries(files)) await repository.storage.replace(`itsm/${id}/${name}`, bytes)
      }
    }),
  ),
)
const room = repository.source('itsm')
const cold = await measured('cold: every manifest by itself', () => room.entries())
await measured('writing the summary', () => room.summarize())
const warm = await measured('warm: with the summary, in a new process’s place', async () =>
  (await openRepository(place)).source('itsm').entries(),
)
const problem = cold.find(({ status }) => status !== 'ok')
if (problem) throw new Error(problem.problem)
const good = entries => entries.filter(({ status }) => status === 'ok').length
const rss = Math.round(process.memoryUsage.rss() / 1e6)
process.stdout.write(`${good(cold)} and ${good(warm)} sound backups; ${rss} MB\n`)
process.exit(0)
