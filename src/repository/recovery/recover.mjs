// Recovers one backup of this repository without nexus-backup: needs Node 18 or later and the `zstd` program.
//
//   node REPO/recover.mjs REPO/SOURCE/ID OUTPUT
//
// 1. Follows the backup's parents to the full it rests on, reading each manifest.json.
// 2. Compares every file of each of them with its SHA256SUMS.
// 3. Unpacks them with zstd, oldest first, and writes each block to its place in OUTPUT.partial.
// 4. Compares the block digests with the manifest's image digest, and renames OUTPUT.partial to OUTPUT.
//
// One file in the image: OUTPUT is that file. Several: OUTPUT is a directory with them (contents, no modes or links).
// Nothing else is written, and what exists is never overwritten. What is read is not trusted: every number is bounded.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { lstat, mkdir, open, rename } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { PassThrough } from 'node:stream'

const ID = /^\d{8}T\d{6}\.\d{3}Z-(full|diff|incr)-[0-9a-f]{4}$/
const MiB = 1024 * 1024

function fail(message) {
  throw new Error(message)
}

function must(condition, message) {
  if (!condition) fail(message)
}

const isCount = (value, most = Number.MAX_SAFE_INTEGER) => Number.isSafeInteger(value) && value >= 0 && value <= most

// ---- 1. The chain ----

async function readChain(directory) {
  const chain = []
  for (let next = directory; ; ) {
    const member = await readMember(next)
    must(!chain.some(({ id }) => id === member.id), `the parents of ${member.id} go round in a circle`)
    chain.unshift(member)
    if (member.manifest.type === 'full') return chain
    const { parent } = member.manifest
    must(typeof parent === 'string' && ID.test(parent), `${member.id} needs a parent but names none`)
    next = join(dirname(directory), parent)
    const found = await lstat(next).catch(() => undefined)
    must(found?.isDirectory(), `${member.id} needs its parent ${parent}, which is missing: ${next}`)
  }
}

async function readMember(directory) {
  const id = basename(directory)
  must(ID.test(id), `${directory} is not the directory of a backup: its name is no id`)
  const sums = parseSums((await readSmall(join(directory, 'SHA256SUMS'), MiB)).toString(), id)
  const bytes = await readSmall(join(directory, 'manifest.json'), 64 * MiB)
  must(
    createHash('sha256').update(bytes).digest('hex') === sums.get('manifest.json'),
    `${id}: manifest.json differs from SHA256SUMS`,
  )
  const manifest = JSON.parse(bytes.toString())
  must(manifest?.format === 1, `${id}: its format is not 1; use the recover.mjs of a newer nexus-backup`)
  must(manifest.id === id && manifest.type === ID.exec(id)[1], `${id}: its manifest is another backup's`)
  const isPart = part => typeof part?.name === 'string' && sums.has(part.name)
  must(Array.isArray(manifest.parts) && manifest.parts.every(isPart), `${id}: parts of it are not in SHA256SUMS`)
  must(Array.isArray(manifest.files) && manifest.files.every(isFile), `${id}: its list of files is damaged`)
  return { id, directory, manifest, sums }
}

function isFile(file) {
  const safe = name => name !== '' && name !== '.' && name !== '..' && !name.includes('\0')
  return (
    typeof file?.path === 'string' &&
    file.path.split('/').every(safe) &&
    isCount(file.size) &&
    isCount(file.block_size, 16 * MiB) &&
    file.block_size >= 512
  )
}

function parseSums(text, id) {
  const sums = new Map()
  for (const line of text.split('\n').slice(0, -1)) {
    const [, hex, name] = /^([0-9a-f]{64}) {2}([^/]+)$/.exec(line) ?? []
    must(name && name !== '.' && name !== '..', `${id}: SHA256SUMS is damaged`)
    sums.set(name, hex)
  }
  return sums
}

// ---- 2. The bytes ----

function openFile(path) {
  return open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
}

async function readSmall(path, limit) {
  const file = await openFile(path)
  try {
    const { size } = await file.stat()
    must(size <= limit, `${path} is larger than it can be`)
    return await file.readFile()
  } finally {
    await file.close()
  }
}

async function checkBytes({ id, directory, sums }) {
  for (const [name, expected] of sums) {
    const file = await openFile(join(directory, name))
    const hash = createHash('sha256')
    for await (const chunk of file.createReadStream({ highWaterMark: MiB })) hash.update(chunk)
    must(hash.digest('hex') === expected, `${id}: ${name} is damaged, its SHA-256 differs from SHA256SUMS`)
  }
}

// ---- 3. The blocks ----

/** Reads an exact number of bytes at a time from chunks that come as they like. */
function exactReader(chunks, what) {
  let held = []
  let length = 0
  return {
    async read(wanted) {
      while (length < wanted) {
        const { value, done } = await chunks.next()
        must(!done, `${what} ends too early`)
        held.push(value)
        length += value.length
      }
      const all = held.length === 1 ? held[0] : Buffer.concat(held, length)
      held = [all.subarray(wanted)]
      length -= wanted
      return all.subarray(0, wanted)
    },
    async end() {
      must(length === 0 && (await chunks.next()).done, `${what} is longer than it should be`)
    },
  }
}

/** blocks.idx, one zstd frame at a time: its lengths, its runs of blocks and their 16-byte digests. */
async function* readIndex(path, files) {
  const file = await openFile(path)
  const input = exactReader(file.createReadStream({ highWaterMark: MiB })[Symbol.asyncIterator](), path)
  const header = await input.read(16)
  must(
    header.toString('latin1', 0, 8) === 'NXBKIDX1' && header.readUInt32LE(8) === 16,
    `${path} is not an index we know`,
  )
  let frames = 0n
  let blocks = 0n
  for (;;) {
    const lengths = await input.read(12)
    const [stored, plain, count] = [lengths.readUInt32LE(0), lengths.readUInt32LE(4), lengths.readUInt32LE(8)]
    if (stored === 0) break
    must(stored <= 17 * MiB && plain <= 16 * MiB && count <= 65536, `${path} is damaged: a frame is too large`)
    const table = await input.read(count * 24)
    const runs = []
    for (let at = 0; at < table.length; at += 24) runs.push(readRun(table.subarray(at, at + 24), files, plain, path))
    for (const run of runs) {
      run.digests = Buffer.from(await input.read(run.blocks * 16))
      blocks += BigInt(run.blocks)
    }
    frames += 1n
    yield { stored, plain, runs }
  }
  const end = await input.read(24)
  must(end.toString('latin1', 16) === 'NXBKEND1', `${path} is damaged: it has no end`)
  must(
    end.readBigUInt64LE(0) === frames && end.readBigUInt64LE(8) === blocks,
    `${path} is damaged: its counts are wrong`,
  )
  await input.end()
}

function readRun(bytes, files, plain, path) {
  const run = {
    file: files[bytes.readUInt32LE(0)],
    blocks: bytes.readUInt32LE(4),
    first: Number(bytes.readBigUInt64LE(8)),
    offset: bytes.readUInt32LE(16),
  }
  must(run.file, `${path} is damaged: it names a file that is not there`)
  const { size, block_size: blockSize } = run.file
  must(
    isCount(run.first) && run.blocks > 0 && run.first + run.blocks <= Math.ceil(size / blockSize),
    `${path} is damaged: a block lies outside its file`,
  )
  run.position = run.first * blockSize
  run.bytes = Math.min(run.blocks * blockSize, size - run.position)
  must(run.offset + run.bytes <= plain, `${path} is damaged: a block lies outside its frame`)
  return run
}

async function applyMember(member, image) {
  const { id, directory, manifest } = member
  const part = role => manifest.parts.find(found => found.role === role)
  const data = part(manifest.type === 'full' ? 'image' : 'blocks')
  const index = part('index')
  must(data && index, `${id}: its manifest names no data or no index`)
  const file = await openFile(join(directory, data.name))
  const { size } = await file.stat()
  const zstd = size === 0 ? nothingToUnpack() : startZstd(file.fd)
  try {
    const plain = exactReader(zstd.output[Symbol.asyncIterator](), `${id}: ${data.name} unpacked`)
    let stored = 0
    for await (const frame of readIndex(join(directory, index.name), manifest.files)) {
      const bytes = await plain.read(frame.plain)
      for (const run of frame.runs) await image.write(run, bytes.subarray(run.offset, run.offset + run.bytes))
      stored += frame.stored
    }
    await plain.end()
    await zstd.ended
    must(stored === size, `${id}: ${index.name} does not fit ${data.name}`)
  } finally {
    zstd.stop()
    await file.close()
  }
}

/** A diff or incr of an unchanged source has no frames at all, which zstd would call an error. */
function nothingToUnpack() {
  return { output: (async function* () {})(), ended: Promise.resolve(), stop() {} }
}

function startZstd(input) {
  const child = spawn('zstd', ['-d', '-c', '-q'], { stdio: [input, 'pipe', 'pipe'] })
  let complaint = ''
  child.stderr.on('data', text => {
    complaint = (complaint + text).slice(0, 500)
  })
  const ended = new Promise((done, refuse) => {
    child.on('error', error => {
      const missing = error.code === 'ENOENT'
      refuse(missing ? new Error('the zstd program is missing: install it (Debian, Ubuntu: apt install zstd)') : error)
    })
    child.on('close', code => (code === 0 ? done() : refuse(new Error(`zstd failed: ${complaint.trim()}`))))
  })
  ended.catch(() => undefined)
  // Taken up at once: Node throws away what nobody reads by the time the program has ended.
  const taken = child.stdout.pipe(new PassThrough({ highWaterMark: MiB }))
  // When the output ends too early, zstd's own reason is the better message.
  async function* output() {
    yield* taken
    await ended
  }
  return { output: output(), ended, stop: () => child.kill() }
}

// ---- 4. The image ----

/** The newest image under construction: where its blocks go, and their digests in order. */
async function openImage(chain, path) {
  const { id, manifest } = chain[chain.length - 1]
  const places = new Map()
  let blocks = 0
  for (const file of manifest.files) {
    places.set(file.path, { file, firstBlock: blocks })
    blocks += Math.ceil(file.size / file.block_size)
  }
  // A digest takes 16 bytes in an index: more blocks than the chain's indexes can hold is a lie, told to exhaust memory.
  const indexes = chain.map(member =>
    join(member.directory, member.manifest.parts.find(({ role }) => role === 'index')?.name ?? ''),
  )
  let indexBytes = 0
  for (const name of indexes) indexBytes += (await lstat(name)).size
  must(blocks * 16 <= indexBytes, `${id}: its files are larger than what is stored of them`)
  const digests = Buffer.alloc(blocks * 16)

  const single = manifest.files.length === 1
  let current = { path: undefined, handle: undefined }
  const pathOf = file => (single ? path : join(path, file.path))
  async function handleOf(file, flags) {
    if (current.path === file.path) return current.handle
    await current.handle?.close()
    current = { path: file.path, handle: await open(pathOf(file), flags, 0o600) }
    return current.handle
  }
  if (!single) await mkdir(path, { mode: 0o700 })
  for (const file of manifest.files) {
    if (!single) await mkdir(dirname(pathOf(file)), { recursive: true, mode: 0o700 })
    await (await handleOf(file, 'wx')).truncate(file.size)
  }
  await current.handle?.close()
  current = { path: undefined, handle: undefined }

  return {
    async write({ file, first, blocks: count, position, digests: some }, bytes) {
      const place = places.get(file.path)
      if (!place) return
      const { size, block_size: blockSize } = place.file
      must(blockSize === file.block_size, `${file.path}: its block size changed within the chain`)
      const kept = Math.min(bytes.length, size - position)
      if (kept <= 0) return
      const handle = await handleOf(place.file, 'r+')
      for (let done = 0; done < kept; )
        done += (await handle.write(bytes, done, kept - done, position + done)).bytesWritten
      some.copy(digests, (place.firstBlock + first) * 16, 0, Math.min(count, Math.ceil(size / blockSize) - first) * 16)
    },
    async finish() {
      await current.handle?.close()
      const digest = createHash('sha256').update(digests).digest('hex')
      must(digest === manifest.image_digest, `${id}: what was recovered has not the image digest of its manifest`)
      for (const file of manifest.files) await sync(pathOf(file), 'r+')
      if (!single) await sync(path, 'r')
    },
  }
}

async function sync(path, flags) {
  const handle = await open(path, flags)
  await handle.sync()
  await handle.close()
}

const exists = path =>
  lstat(path).then(
    () => true,
    error => (error.code === 'ENOENT' ? false : fail(error.message)),
  )

async function main([directory, output, ...more]) {
  must(directory && output && more.length === 0, 'usage: node REPO/recover.mjs REPO/SOURCE/ID OUTPUT')
  const [target, partial] = [resolve(output), `${resolve(output)}.partial`]
  for (const path of [target, partial])
    must(!(await exists(path)), `${path} already exists; choose another OUTPUT, or move it away`)
  const chain = await readChain(resolve(directory))
  for (const member of chain) await checkBytes(member)
  const newest = chain[chain.length - 1].manifest
  must(newest.files.length > 0, `${newest.id}: it holds no files`)
  try {
    const image = await openImage(chain, partial)
    for (const member of chain) await applyMember(member, image)
    await image.finish()
  } catch (error) {
    if (await exists(partial)) error.message += `; ${partial} holds what was recovered so far and cannot be trusted`
    throw error
  }
  must(!(await exists(target)), `${target} appeared meanwhile; the recovered data is in ${partial}`)
  await rename(partial, target)
  await sync(dirname(target), 'r')
  for (const { id } of chain) process.stdout.write(`applied ${id}\n`)
  const bytes = newest.files.reduce((sum, { size }) => sum + size, 0)
  process.stdout.write(
    `recovered ${newest.id}, captured at ${JSON.stringify(newest.captured_at)}: ${bytes} bytes in ${target}\n`,
  )
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`recover: ${error.message}\n`)
  process.exitCode = 1
}
