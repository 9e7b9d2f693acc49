import { NexusError } from '../errors.js'
import type { CommandIo } from './io.js'

/** One thing to choose from. */
export interface Choice<T> {
  name: string
  value: T
}

/** Lets the operator choose one of several on the terminal; questions go to stderr. */
export async function askForChoice<T>(io: CommandIo, message: string, choices: readonly Choice<T>[]): Promise<T> {
  return (await ask(io, { type: 'select', message, choices: [...choices], pageSize: 15, loop: false })) as T
}

/** Asks for a line of text. */
export async function askForText(io: CommandIo, message: string): Promise<string> {
  return String(await ask(io, { type: 'input', message }))
}

/** Asks for a secret, which is not shown. */
export async function askForSecret(io: CommandIo, message: string): Promise<string> {
  return String(await ask(io, { type: 'password', message, mask: false, toggleMask: false }))
}

/** An ordinary question; no is the default. */
export async function askWhether(io: CommandIo, message: string): Promise<boolean> {
  return (await ask(io, { type: 'confirm', message, default: false })) === true
}

async function ask(io: CommandIo, question: Record<string, unknown>): Promise<unknown> {
  const { createPromptModule } = await import('inquirer')
  const prompt = createPromptModule({ input: io.stdin, output: io.stderr as NodeJS.WritableStream, signal: io.signal })
  try {
    const answers: Record<string, unknown> = await prompt([{ ...question, name: 'answer' } as never])
    return answers.answer
  } catch (error) {
    if (error instanceof Error && error.name === 'ExitPromptError') {
      throw new NexusError('interrupted', 'interrupted_sigint', 'given up at the question; nothing was done')
    }
    throw error
  }
}
