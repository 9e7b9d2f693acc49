import { parentPort } from 'node:worker_threads'
import { errnoOf, messageOf } from '../../errors.js'
import { giveBack } from '../../give-back.js'
import { TaskExecutor } from './execute.js'
import { memoryOf, type Task } from './tasks.js'

/** What the pool and a worker say to each other; `ticket` pairs question and answer. */
export interface Question {
  ticket: number
  task: Task
}
export type Answer =
  | { ticket: number; result: unknown }
  | { ticket: number; failure: { message: string; errno: string | undefined } }

const executor = new TaskExecutor()

parentPort?.on('message', async ({ ticket, task }: Question) => {
  try {
    const result = await executor.execute(task)
    for (const buffer of memoryOf(task)) giveBack(new Uint8Array(buffer))
    const moved = Object.values(result).flatMap(value =>
      ArrayBuffer.isView(value) ? [value.buffer as ArrayBuffer] : [],
    )
    parentPort?.postMessage({ ticket, result } satisfies Answer, moved)
  } catch (error) {
    const failure = { message: messageOf(error), errno: errnoOf(error) }
    parentPort?.postMessage({ ticket, failure } satisfies Answer)
  }
})
