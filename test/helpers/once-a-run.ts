import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'

/** Where the processes of one run keep what is made once for all of them; `global-setup.ts` makes and removes it. */
export function runDirectory(): string {
  const directory = process.env.NEXUS_TEST_RUN
  if (directory === undefined) throw new Error('NEXUS_TEST_RUN is not set: test/global-setup.ts did not run')
  return directory
}

/**
 * Makes something in a directory of that name, unless another process of the run makes or made it, and returns what
 * `make` told of it.
 *
 * @param make gets the new, empty directory
 */
export async function onceARun<T>(name: string, make: (directory: string) => Promise<T>): Promise<T> {
  const directory = join(runDirectory(), name)
  const answer = `${directory}.json`
  try {
    mkdirSync(directory)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    while (!existsSync(answer)) await setTimeout(20)
    const { made, failure } = JSON.parse(readFileSync(answer, 'utf8')) as { made: T; failure?: string }
    if (failure !== undefined) throw new Error(failure)
    return made
  }
  const tell = (outcome: { made: T } | { failure: string }) => {
    writeFileSync(`${answer}.new`, JSON.stringify(outcome))
    renameSync(`${answer}.new`, answer)
  }
  try {
    const made = await make(directory)
    tell({ made })
    return made
  } catch (error) {
    tell({ failure: String(error) })
    throw error
  }
}
