import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { lstat, open, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { errnoOf } from '../../errors.js'
import { givesFilesAway } from '../../system/ownership.js'
import { parseOutsideJson } from '../json.js'
import { quoted } from '../layout.js'
import type { LockMode } from './locks.js'

/** Who holds a lock, for whoever waits. Notes tell, the lock decides: a missing or stale note harms nothing. */
const noteSchema = v.object({
  host: v.pipe(v.string(), v.maxLength(256)),
  pid: v.pipe(v.number(), v.integer(), v.minValue(1)),
  user: v.pipe(v.string(), v.maxLength(256)),
  purpose: v.pipe(v.string(), v.maxLength(1024)),
  mode: v.picklist(['exclusive', 'shared']),
})
type Note = v.InferOutput<typeof noteSchema> & { path: string; since: Date }

const noteLimit = 16 * 1024

/**
 * Writes a note after the lock was taken. A disk that is full must not keep prune from freeing it,
 * so a note that cannot be written is left out.
 */
export async function leaveNote(
  directory: string,
  lock: string,
  mode: LockMode,
  { host, user, purpose }: { host: string; user: string; purpose: string },
): Promise<string | undefined> {
  const path = join(directory, `${lock}.${process.pid}-${randomBytes(4).toString('hex')}.json`)
  const temporary = `${path}.new`
  try {
    const { uid, gid } = await lstat(directory)
    const handle = await open(temporary, 'wx', 0o600)
    try {
      await handle.writeFile(`${JSON.stringify({ host, pid: process.pid, user, purpose, mode })}\n`)
      if (givesFilesAway()) await handle.chown(uid, gid)
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
    return path
  } catch {
    await rm(temporary, { force: true }).catch(() => undefined)
    return undefined
  }
}

export async function dropNote(path: string | undefined): Promise<void> {
  if (path !== undefined) await rm(path, { force: true }).catch(() => undefined)
}

/** Removes notes of holders that are surely gone: an exclusive holder is alone; else by process id on this host. */
export async function forgetStale(directory: string, lock: string, mode: LockMode, host: string): Promise<void> {
  if (mode === 'exclusive') {
    for (const name of await noteNames(directory, lock)) await dropNote(join(directory, name))
    return
  }
  for (const note of await readNotes(directory, lock)) if (isDead(note, host)) await dropNote(note.path)
}

/** The present holders in words: `create itsm (root, process 4711 on db1, since 2025-11-03T03:00:00Z)`. */
export async function describeHolders(directory: string, lock: string, host: string): Promise<string> {
  const alive = (await readNotes(directory, lock)).filter(note => !isDead(note, host))
  const exclusive = alive.filter(note => note.mode === 'exclusive')
  const holders = exclusive.length > 0 ? exclusive : alive
  if (holders.length === 0) return 'another run'
  const words = holders.slice(0, 3).map(describe)
  return holders.length > 3 ? `${words.join(', ')} and ${holders.length - 3} more` : words.join(' and ')
}

function describe({ purpose, user, pid, host, since }: Note): string {
  return `${plain(purpose)} (user ${plain(user)}, process ${pid} on ${plain(host)}, since ${since.toISOString().slice(0, 19)}Z)`
}

/** Without quotes where the text is harmless. */
function plain(text: string): string {
  return /^[\w .,:@/+-]{1,120}$/.test(text) ? text : quoted(text)
}

async function noteNames(directory: string, lock: string): Promise<string[]> {
  const names = await readdir(directory).catch((): string[] => [])
  return names.filter(name => name.startsWith(`${lock}.`) && /\.json(\.new)?$/.test(name))
}

async function readNotes(directory: string, lock: string): Promise<Note[]> {
  const notes: Note[] = []
  for (const name of await noteNames(directory, lock)) {
    const note = name.endsWith('.json') ? await readNote(join(directory, name)) : undefined
    if (note) notes.push(note)
  }
  return notes.sort((a, b) => a.since.getTime() - b.since.getTime())
}

async function readNote(path: string): Promise<Note | undefined> {
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const found = await handle.stat()
      if (!found.isFile() || found.size > noteLimit) return undefined
      const result = v.safeParse(noteSchema, parseOutsideJson(await handle.readFile()))
      return result.success ? { ...result.output, path, since: found.mtime } : undefined
    } finally {
      await handle.close()
    }
  } catch {
    return undefined
  }
}

function isDead({ host, pid }: Note, thisHost: string): boolean {
  if (host !== thisHost) return false
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return errnoOf(error) === 'ESRCH'
  }
}
