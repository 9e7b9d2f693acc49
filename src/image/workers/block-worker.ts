import { parentPort } from 'node:worker_threads'
import { giveBack } from '../../give-back.js'
import { answerTo, type Question } from './answer.js'
import { TaskExecutor } from './execute.js'
import { memoryOf } from './tasks.js'

const executor = new TaskExecutor()

parentPort?.on('message', async (question: Question) => {
  const answer = await answerTo(question, executor)
  if ('failure' in answer) {
    parentPort?.postMessage(answer)
    return
  }
  for (const buffer of memoryOf(question.task)) giveBack(new Uint8Array(buffer))
  const moved = Object.values(answer.result).flatMap(value =>
    ArrayBuffer.isView(value) ? [value.buffer as ArrayBuffer] : [],
  )
  parentPort?.postMessage(answer, moved)
})
