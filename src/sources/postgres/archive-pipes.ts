import { closeSync, constants, existsSync, linkSync, lstatSync, mkdtempSync, openSync, readdirSync } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { execa } from 'execa'
import { errnoOf, NexusError } from '../../errors.js'
import { noSecrets } from '../../secret-variables.js'
import { whileHeld } from '../../system/held-directory.js'
import { removeTree } from '../../system/names.js'
import { giveDirectory, giveSpecial } from '../../system/ownership.js'
import { trustedPath } from '../../system/trusted-path.js'
import type { Account } from './run-as.js'

/** Pipes take no room on a disk, and every file system that can hold them will do. */
const ROOMS = '/tmp'
const PREFIX = 'nexus-backup-'
/** What killed runs left is taken away when it is this old: a process of another container may have the room still. */
const ABANDONED_MS = 24 * 60 * 60 * 1000
const POLL_MS = 1
const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** An archive that a program writes into a pipe. */
export interface PipedArchive {
  /** Without `.tar`: `base`, or the OID of a tablespace. */
  name: string
  /** Its bytes. */
  chunks: AsyncIterable<Buffer>
}

/**
 * Takes what `pg_basebackup` writes into a directory for a cluster with tablespaces, archive by archive, without a copy on
 * disk. The program wants an absent or empty directory, and opens its files only when the server has begun to send: in
 * between, pipes take the places of the files.
 */
export class ArchivePipes {
  /** The directory to give to the program; it makes it. */
  readonly directory: string
  readonly #own: string
  readonly #room: string
  readonly #names: readonly string[]
  readonly #readers: Socket[] = []
  #writers: number[] = []

  private constructor(own: string, room: string, names: readonly string[]) {
    this.#own = own
    this.#room = room
    this.#names = names
    this.directory = join(room, 'base')
  }

  /** @param account who runs the program; null for this user */
  static async make(names: readonly string[], account: Account | null): Promise<ArchivePipes> {
    const rooms = trustedPath(ROOMS)
    removeAbandoned(rooms)
    const make = (what: string) => mkdtempSync(join(rooms, `${PREFIX}${what}-${process.pid}-`))
    const pipes = new ArchivePipes(make('pipes'), make('base'), names)
    try {
      const paths = names.map(name => pipes.#pipe(name))
      await execa('mkfifo', ['-m', '600', ...paths], { env: noSecrets, extendEnv: true, stdin: 'ignore' })
      for (const path of paths) pipes.#open(path, account)
      giveDirectory(pipes.#room, account, 0o700)
      return pipes
    } catch (error) {
      pipes.close()
      throw error
    }
  }

  /**
   * Waits until the program has made its directory, and puts the pipes into it.
   *
   * @param ended when the program has ended
   * @returns false when the program was faster and has begun to write a file
   */
  async connect(ended: Promise<unknown>): Promise<boolean> {
    let isOver = false
    const over = () => {
      isOver = true
      this.#closeWriters()
    }
    ended.then(over, over)
    while (!existsSync(this.directory)) {
      // Why it ended is told by who reads the archives.
      if (isOver) return true
      await pause(POLL_MS)
    }
    try {
      whileHeld(this.directory, into => {
        for (const name of this.#names) linkSync(this.#pipe(name), into.at(`${name}.tar`))
      })
      return true
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return false
      // A program that fails takes its directory away.
      if (errnoOf(error) === 'ENOENT') return true
      throw error
    }
  }

  /** The archives in the order in which the program writes them; each must be read before the next one is asked for. */
  async *archives(): AsyncGenerator<PipedArchive> {
    const waiting = new Map(
      this.#readers.map((reader, at) => {
        const rest = reader.iterator({ destroyOnReturn: false })
        const first = rest.next().then(result => ({ at, rest, result }))
        first.catch(() => {})
        return [at, first] as const
      }),
    )
    while (waiting.size > 0) {
      const { at, rest, result } = await Promise.race(waiting.values())
      waiting.delete(at)
      // Nothing was written: the tablespace was dropped.
      if (result.done === true) continue
      yield { name: this.#names[at] ?? '', chunks: following(result.value, rest) }
      // What follows an archive's end is taken too, or the program waits.
      this.#readers[at]?.resume()
    }
  }

  /** Twice is as good as once. */
  close(): void {
    for (const reader of this.#readers) reader.destroy()
    this.#closeWriters()
    removeTree(this.#room)
    removeTree(this.#own)
  }

  #pipe(name: string): string {
    return join(this.#own, `${name}.tar`)
  }

  /** It is held open for writing too, so that it does not end before the program has opened it. */
  #open(path: string, account: Account | null): void {
    const reader = new Socket({
      fd: openSync(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW),
      readable: true,
      writable: false,
    })
    reader.on('error', () => {})
    this.#readers.push(reader)
    this.#writers.push(openSync(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW))
    giveSpecial(path, account, 0o600)
  }

  #closeWriters(): void {
    for (const fd of this.#writers) closeSync(fd)
    this.#writers = []
  }
}

function removeAbandoned(rooms: string): void {
  for (const name of readdirSync(rooms)) {
    const pid = /^nexus-backup-(?:pipes|base)-(\d+)-/.exec(name)?.[1]
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue
    try {
      const path = join(rooms, name)
      if (Date.now() - lstatSync(path).mtimeMs > ABANDONED_MS) removeTree(path)
    } catch (error) {
      // Of another user, or another run was faster.
      if (errnoOf(error) === undefined) throw error
    }
  }
}

async function* following(first: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  yield first
  for (;;) {
    const { value, done } = await rest.next()
    if (done === true) return
    yield value
  }
}

/** The program began to write before the pipes were in place, again and again. */
export function pipesLate(): NexusError {
  return new NexusError('failed', 'pipes_late', 'pg_basebackup began to write before its output could be taken over', {
    hint: 'run it again when this machine is less busy',
  })
}
