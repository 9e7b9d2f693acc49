import { parentPort } from 'node:worker_threads'
import { packed } from './pack.js'

parentPort?.on('message', (plain: Uint8Array) => {
  const result = packed(plain)
  parentPort?.postMessage(result, [result.stored.buffer])
})
