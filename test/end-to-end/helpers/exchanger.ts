import { createHash } from 'node:crypto'
import { chmodSync, lchownSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { printed, program, startProcess } from './run.js'

export const nobody = { uid: 65534, gid: 65534 }

/** A directory that every user can come to. */
export function openRoom(): string {
  const room = temporaryDirectory()
  chmodSync(room, 0o755)
  return room
}

/** Gives a directory with all that is in it to the ordinary user. */
export function giveToNobody(path: string): void {
  lchownSync(path, nobody.uid, nobody.gid)
  if (lstatSync(path).isDirectory()) for (const name of readdirSync(path)) giveToNobody(join(path, name))
}

/** What is root's alone, and must stay as it is. */
export interface Victim {
  directory: string
  /** A file whose owner, mode and content are worth having. */
  secret: string
  /** A database. */
  database: string
  /** A directory with nothing in it: one that could be taken for new. */
  empty: string
  /** Everything about it; two of them are equal when nothing was changed, made or removed. */
  picture(): unknown
}

export function victimOf(room: string): Victim {
  const directory = join(room, 'roots-own')
  mkdirSync(directory, { mode: 0o700 })
  const secret = join(directory, 'secret')
  writeFileSync(secret, 'root:$6$hash:\n', { mode: 0o600 })
  const database = join(directory, 'other.db')
  const open = new Database(database)
  open.exec('CREATE TABLE t (x); INSERT INTO t VALUES (1)')
  open.close()
  const empty = join(directory, 'empty')
  mkdirSync(empty, { mode: 0o711 })
  const look = (path: string): unknown => {
    const { uid, gid, mode, ino, nlink } = lstatSync(path)
    const content = lstatSync(path).isDirectory()
      ? readdirSync(path).map(name => [name, look(join(path, name))])
      : createHash('sha256').update(readFileSync(path)).digest('hex')
    return { uid, gid, mode, ino, nlink, content }
  }
  return { directory, secret, database, empty, picture: () => look(directory) }
}

/**
 * Lets the ordinary user exchange whatever appears in directories of his for links to the victim, while `work` goes on.
 *
 * @param keep names that he leaves alone
 * @param who the owner of the directories
 */
export async function whileExchanging(
  victim: Victim,
  directories: readonly string[],
  keep: readonly string[],
  work: () => Promise<void>,
  who: { uid: number; gid: number } = nobody,
): Promise<void> {
  const aims = [`${victim.directory},${victim.empty}`, `${victim.secret},${victim.database}`]
  const args = ['100000000', ...aims, keep.join(','), ...directories]
  const { uid, gid } = who
  const attacker = startProcess(process.execPath, [program('exchanger'), ...args], { uid, gid })
  await printed(attacker, 'ready')
  try {
    await work()
  } finally {
    attacker.child.kill('SIGTERM')
    await attacker.done
  }
}
