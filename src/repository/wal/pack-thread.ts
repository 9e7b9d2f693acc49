import { Worker } from 'node:worker_threads'
import { type Packed, packed } from './pack.js'

/** Packs files on two threads, this one and one beside it, for as long as many are to be packed. */
export interface PackThreads {
  /** @param plain unchanged until it is done; in shared memory it is not copied */
  pack(plain: Uint8Array): Promise<Packed>
  stop(): Promise<void>
}

/** Starts the other thread, which takes about as long as packing two segments. */
export function startPacking(): PackThreads {
  const thread = new Worker(new URL('./pack-worker.js', import.meta.url))
  let waiting: { resolve(result: Packed): void; reject(error: Error): void } | undefined
  thread.on('message', (result: Packed) => {
    const { resolve } = waiting ?? {}
    waiting = undefined
    resolve?.(result)
  })
  thread.on('error', error => waiting?.reject(error))
  thread.on('exit', () => waiting?.reject(new Error('the packing thread ended')))
  return {
    async pack(plain) {
      if (waiting !== undefined) return packed(plain)
      return await new Promise((resolve, reject) => {
        waiting = { resolve, reject }
        thread.postMessage(plain)
      })
    },
    async stop() {
      await thread.terminate()
    },
  }
}
