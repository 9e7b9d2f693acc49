// The thread behind callS3 (stored.ts): carries out one command of the SDK after another and wakes who waits for it.
import { workerData } from 'node:worker_threads'

const { port, woken, settings } = workerData
const sdk = await import('@aws-sdk/client-s3')
const client = new sdk.S3Client(settings)

port.on('message', async ({ command, input }) => {
  let answer
  try {
    const { $metadata, Body, ...output } = await client.send(new sdk[command](input))
    answer = { output: Body === undefined ? output : { ...output, Body: await Body.transformToByteArray() } }
  } catch (error) {
    answer = { failure: `${error.name}: ${error.message}` }
  }
  port.postMessage(answer)
  Atomics.store(woken, 0, 1)
  Atomics.notify(woken, 0)
})
