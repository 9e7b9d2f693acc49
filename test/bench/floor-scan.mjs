// The floor of an increment: reads a file once in two threads, digests every page with the same XXH3-128 as the
// product, compares with the digests of an earlier scan, and writes the changed pages to a file.
//
//   node floor-scan.mjs FILE TABLE [CHANGED]       without CHANGED the table is written, with it only compared
import { closeSync, fstatSync, fsyncSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { createXXHash128 } from 'hash-wasm'

const pageBytes = 4096
const chunkBytes = 4 * 1024 * 1024
const threads = 2

/** Digests every second chunk; tells digests and the numbers of pages that differ. */
async function scan({ path, before, digests, thread }) {
  const hasher = await createXXHash128(1, 2)
  const file = openSync(path, 'r')
  const { size } = fstatSync(file)
  const chunk = Buffer.alloc(chunkBytes)
  const table = Buffer.from(digests)
  const earlier = before === null ? null : Buffer.from(before)
  const changed = []
  for (let start = thread * chunkBytes; start < size; start += threads * chunkBytes) {
    const length = readSync(file, chunk, 0, chunkBytes, start)
    for (let at = 0; at < length; at += pageBytes) {
      const row = ((start + at) / pageBytes) * 16
      table.set(
        hasher
          .init()
          .update(chunk.subarray(at, at + pageBytes))
          .digest('binary'),
        row,
      )
      if (earlier !== null && table.compare(earlier, row, row + 16, row, row + 16) !== 0) changed.push(start + at)
    }
  }
  closeSync(file)
  parentPort.postMessage(changed)
}

async function main([path, tablePath, changedPath]) {
  const file = openSync(path, 'r')
  const pages = Math.ceil(fstatSync(file).size / pageBytes)
  const digests = new SharedArrayBuffer(pages * 16)
  let before = null
  if (changedPath !== undefined) {
    before = new SharedArrayBuffer(pages * 16)
    Buffer.from(before).set(readFileSync(tablePath).subarray(0, pages * 16))
  }
  const scans = Array.from({ length: threads }, (_, thread) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { path, before, digests, thread } })
    return new Promise((done, refuse) => worker.once('message', done).once('error', refuse))
  })
  const changed = (await Promise.all(scans)).flat().sort((a, b) => a - b)
  if (changedPath === undefined) {
    writeFileSync(tablePath, Buffer.from(digests))
    return
  }
  const output = openSync(changedPath, 'w')
  const page = Buffer.alloc(pageBytes)
  for (const position of changed) {
    const length = readSync(file, page, 0, pageBytes, position)
    writeSync(output, page, 0, length)
  }
  fsyncSync(output)
  process.stdout.write(JSON.stringify({ pages, changed: changed.length }))
}

if (isMainThread) await main(process.argv.slice(2))
else await scan(workerData)
