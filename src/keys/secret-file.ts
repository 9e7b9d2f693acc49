import { closeSync, constants, fstatSync, openSync, readSync, realpathSync, type Stats, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { errnoOf, messageOf, NexusError } from '../errors.js'

/** Bytes a file with a secret in it may have. */
const limit = 64 * 1024

/** How long who writes into a pipe may take, and how often it is looked at. */
const PIPE_MS = 60_000
const PAUSE_MS = 20

/**
 * Reads a file that holds a secret: a plain file, or what a shell or systemd hands over as one.
 * @param what for messages: `key file`, `passphrase file`
 * @throws NexusError refused `secret_exposed` when others can read it, configuration when it cannot be read
 */
export function readSecretFile(path: string, what: string): Buffer {
  let descriptor: number | undefined
  try {
    // Opened otherwise, a named pipe that nobody writes into holds this process where no signal reaches it.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const status = fstatSync(descriptor)
    if (status.isDirectory()) throw unreadable(path, what, 'it is a directory')
    if (!status.isFile() && !status.isFIFO()) throw unreadable(path, what, 'it is a device')
    assertPrivate(path, what, status)
    if (status.isFile()) assertInPlace(path, what)
    return contentOf(descriptor, path, what)
  } catch (error) {
    if (error instanceof NexusError) throw error
    throw unreadable(path, what, errnoOf(error) === 'ENOENT' ? 'no such file' : messageOf(error), error)
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

function contentOf(descriptor: number, path: string, what: string): Buffer {
  const buffer = Buffer.alloc(limit + 1)
  let length = 0
  for (let read = -1; read !== 0 && length < buffer.length; length += read) {
    read = readOrWait(descriptor, buffer.subarray(length), () => unreadable(path, what, 'nobody writes into the pipe'))
  }
  if (length > limit) throw unreadable(path, what, 'it is larger than 64 KiB')
  const content = Buffer.from(buffer.subarray(0, length))
  buffer.fill(0)
  return content
}

/** Reads on, or waits for who writes into a pipe; 0 at the end, which is also what a pipe without a writer says. */
function readOrWait(descriptor: number, buffer: Buffer, tooLong: () => NexusError): number {
  for (let waited = 0; waited < PIPE_MS; waited += PAUSE_MS) {
    try {
      return readSync(descriptor, buffer, 0, buffer.length, null)
    } catch (error) {
      if (errnoOf(error) !== 'EAGAIN') throw error
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS)
  }
  throw tooLong()
}

/** A group may read it (a backup group, a server's user): that is said with its mode. Everybody else must not. */
function assertPrivate(path: string, what: string, { mode }: Stats): void {
  if ((mode & 0o007) === 0 && (mode & 0o020) === 0) return
  const who = (mode & 0o007) === 0 ? 'changed by its group' : 'read or changed by other users'
  throw new NexusError('refused', 'secret_exposed', `the ${what} ${path} can be ${who}`, {
    hint: `chmod 600 ${path}; whoever may have read it has the key: add a new recipient, then nexus-backup keys rotate`,
  })
}

/**
 * Whoever may write a directory above it can put another one in its place, and would be let in with it. In a directory
 * such as /tmp (sticky) only the owner of a file can.
 */
function assertInPlace(path: string, what: string): void {
  let directory = realpathSync(path)
  while (directory !== dirname(directory)) {
    directory = dirname(directory)
    const { mode } = statSync(directory)
    if ((mode & 0o002) === 0 || (mode & 0o1000) !== 0) continue
    throw new NexusError(
      'refused',
      'secret_exposed',
      `the ${what} ${path} can be exchanged by other users, who may write ${directory}`,
      { hint: `chmod o-w ${directory}; then see that the ${what} is still yours` },
    )
  }
}

function unreadable(path: string, what: string, why: string, cause?: unknown): NexusError {
  return new NexusError('configuration', 'secret_unreadable', `cannot read the ${what} ${path}: ${why}`, {
    hint: 'name the right file, or run as a user who may read it',
    cause,
  })
}
