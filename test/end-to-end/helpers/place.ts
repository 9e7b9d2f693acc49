import { mkdirSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { inBucket, type TestRepository, testRepository } from '../../helpers/repository-kind.js'
import { idsIn, storedIn } from '../../helpers/stored.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { type Finished, type Running, type RunOptions, run, start } from './run.js'

// biome-ignore lint/suspicious/noExplicitAny: whatever a command printed; the tests say what it must be
type Printed = any

/** One database with its own repository and state directory, and the command line for them. */
export interface Place extends TestRepository {
  directory: string
  /** The application's database. */
  database: string
  state: string
  /** The flags that say all that. */
  flags: string[]
  /** Runs `nexus-backup COMMAND … FLAGS`. */
  run(command: string, args?: readonly string[], options?: RunOptions): Promise<Finished>
  start(command: string, args?: readonly string[], options?: RunOptions): Running
  /** Runs with `--json` and returns the exit status and the document. */
  json(
    command: string,
    args?: readonly string[],
    options?: RunOptions,
  ): Promise<{ code: number | null; document: Printed; error: Printed }>
  /** Runs and fails the test unless it ends with 0. */
  ok(command: string, args?: readonly string[], options?: RunOptions): Promise<Finished>
}

/** A plain repository at another place, and what every run's environment holds. */
export interface PlaceWishes {
  repository?: string
  env?: Record<string, string>
  /** Whether its key lies in a directory of its own: one that others may write takes no key. */
  apart?: boolean
}

/** A fresh place; the source is called `app`. The database is still to be made. */
export function place(directory = temporaryDirectory(), { env = {}, ...wishes }: PlaceWishes = {}): Place {
  const database = join(directory, 'live', 'app.db')
  mkdirSync(dirname(database), { recursive: true })
  const { repository, keyFile } =
    wishes.repository === undefined
      ? testRepository(join(directory, 'repository'), join(wishes.apart ? temporaryDirectory() : directory, 'key'))
      : { repository: wishes.repository, keyFile: undefined }
  const state = join(directory, 'state')
  const flags = ['--sqlite', database, '--repo', repository, '--state', state]
  if (keyFile !== undefined) flags.push('--key-file', keyFile)
  const all = (command: string, args: readonly string[]) => [command, ...args, ...flags]
  const ended = async (command: string, args: readonly string[] = [], options: RunOptions = {}) =>
    run(all(command, args), within(options))
  const within = (options: RunOptions) => ({ ...options, env: { ...env, ...options.env } })
  return {
    directory,
    database,
    repository,
    keyFile,
    state,
    flags,
    run: ended,
    start: (command, args = [], options = {}) => start(all(command, args), within(options)),
    async json(command, args = [], options = {}) {
      const { code, stdout, stderr } = await ended(command, [...args, '--json'], options)
      return {
        code,
        document: stdout === '' ? undefined : JSON.parse(stdout),
        error: stderr === '' ? undefined : JSON.parse(stderr),
      }
    },
    async ok(command, args = [], options = {}) {
      const result = await ended(command, args, options)
      if (result.code !== 0) throw new Error(`${command} ended with ${result.code}: ${result.stderr}${result.stdout}`)
      return result
    },
  }
}

/** Ids of the source's committed backups, oldest first. */
export function backupIds({ repository }: Place, source = 'app'): string[] {
  return idsIn(repository, source)
}

/** What lies beside the database that is neither it nor SQLite's, nor something set aside. */
export function leftoversBeside(database: string): string[] {
  const own = basename(database)
  return readdirSync(dirname(database))
    .filter(name => ![own, `${own}-wal`, `${own}-shm`, `${own}-journal`].includes(name))
    .filter(name => !/\.before-restore-[0-9TZ.]+$/.test(name))
}

/** Half-made things in a repository. */
export function leftoversIn(repository: string): string[] {
  const isHalfMade = (name: string) => name.startsWith('.partial-') || name === '.prune-plan.json'
  if (!inBucket) {
    return readdirSync(repository, { recursive: true, encoding: 'utf8' }).filter(name => isHalfMade(basename(name)))
  }
  const stored = storedIn(repository)
  const names = stored.files().filter(name => isHalfMade(basename(name)) || name.includes('/.pending/'))
  return [...names, ...stored.unfinished()]
}

/** Names set aside by restores, oldest first. */
export function setAside(database: string): string[] {
  return readdirSync(dirname(database))
    .filter(name => name.includes('.before-restore-') && name.endsWith('Z'))
    .sort()
    .map(name => join(dirname(database), name))
}
