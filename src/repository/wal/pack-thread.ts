import { Worker } from 'node:worker_threads'
import { type Packed, packed } from './pack.js'

/** Packs files on two threads, this one and one beside it, for as long as many are to be packed. */
export interface PackThreads {
  /** @param plain unchanged until it is done; in shared memory it is not copied */
  pack(plain: Uint8Array): Promise<Packed>
  stop(): Promise<void>
}

interface Waiting {
  resolve(result: Packed): void
  reject(error: Error): void
}

/** Files that the other thread has before it: with the next one there already, it need not wait until this one is free. */
const QUEUE = 2

/** Starts the other thread, which takes about as long as packing two segments. */
export function startPacking(): PackThreads {
  const thread = new Worker(new URL('./pack-worker.js', import.meta.url))
  const queue: Waiting[] = []
  const fail = (error: Error) => {
    for (const { reject } of queue.splice(0)) reject(error)
  }
  thread.on('message', (result: Packed) => queue.shift()?.resolve(result))
  thread.on('error', fail)
  thread.on('exit', () => fail(new Error('the packing thread ended')))
  return {
    async pack(plain) {
      if (queue.length >= QUEUE) return packed(plain)
      return await new Promise((resolve, reject) => {
        queue.push({ resolve, reject })
        thread.postMessage(plain)
      })
    },
    async stop() {
      await thread.terminate()
    },
  }
}
