import { errnoOf, messageOf } from '../../errors.js'
import type { TaskExecutor } from './execute.js'
import type { Task } from './tasks.js'

/** What the pool and a worker say to each other; `ticket` pairs question and answer. */
export interface Question {
  ticket: number
  task: Task
}
export type Answer =
  | { ticket: number; result: Awaited<ReturnType<TaskExecutor['execute']>> }
  | { ticket: number; failure: { message: string; errno: string | undefined } }

/** Does the task of a question; what goes wrong is part of the answer. */
export async function answerTo({ ticket, task }: Question, executor: TaskExecutor): Promise<Answer> {
  try {
    return { ticket, result: await executor.execute(task) }
  } catch (error) {
    return { ticket, failure: { message: messageOf(error), errno: errnoOf(error) } }
  }
}
