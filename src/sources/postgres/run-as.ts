import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { errnoOf } from '../../errors.js'
import { noSecrets } from '../../secret-variables.js'

/** A user as whom PostgreSQL's programs are run. */
export interface Account {
  /** The number itself where the system has no name for it. */
  name: string
  uid: number
  gid: number
  group: string
  /** libpq looks for the password file and the client certificate here. */
  home: string
  /** The system's list of users has this one, and so its supplementary groups are known. */
  listed: boolean
}

/** What execa needs to start a program as somebody: `execa(file, args, { ...options, … })`. */
export interface Command {
  file: string
  args: string[]
  options: { env: Record<string, string>; extendEnv: false; cwd?: string; uid?: number; gid?: number }
}

/** Where util-linux keeps `setpriv`. */
const SETPRIV = ['/usr/bin/setpriv', '/bin/setpriv']

/**
 * The user who owns a path, for running PostgreSQL's programs as him: servers refuse to run as root and know the owner of
 * their data directory by peer authentication (design section 4). Null means "as we are": when we are not root, when root
 * itself is the owner, or when the path does not exist here.
 */
export async function ownerAccount(path: string): Promise<Account | null> {
  if (process.geteuid?.() !== 0) return null
  const owner = ownerOf(path)
  return owner === null || owner.uid === 0 ? null : namedAccount(owner.uid, owner.gid)
}

/** Names and home of a user and a group, asked of the system (`getent`, which knows directory services too). */
export async function namedAccount(uid: number, gid: number): Promise<Account> {
  const [user, group] = await Promise.all([lookUp('passwd', uid), lookUp('group', gid)])
  return {
    name: user?.[0] ?? String(uid),
    uid,
    gid,
    group: group?.[0] ?? String(gid),
    home: user?.[5] ?? '/',
    listed: user !== undefined,
  }
}

/** The account of a name; null where the system knows none. */
export async function accountNamed(name: string): Promise<Account | null> {
  const found = await lookUp('passwd', name)
  const [, , uid, gid] = found ?? []
  return found?.[0] !== name || uid === undefined || gid === undefined ? null : namedAccount(Number(uid), Number(gid))
}

/**
 * A program as somebody else, null for as we are. Node's own `uid` and `gid` drop every supplementary group (libuv calls
 * `setgroups(0, NULL)`), with which a server loses for instance `ssl-cert` and so its key: `setpriv` sets them.
 */
export function commandAs(
  account: Account | null,
  program: string,
  args: string[],
  env: Record<string, string | undefined>,
): Command {
  if (account === null) return { file: program, args, options: { env: defined(env), extendEnv: false } }
  const { uid, gid, name, home } = account
  // Our working directory may be closed to the other user, and PostgreSQL's programs return to theirs.
  const options = {
    env: { ...defined(env), HOME: home, USER: name, LOGNAME: name },
    extendEnv: false,
    cwd: '/',
  } as const
  const setpriv = SETPRIV.find(isUtilLinux)
  if (setpriv === undefined) return { file: program, args, options: { ...options, uid, gid } }
  const groups = account.listed ? '--init-groups' : '--clear-groups'
  return { file: setpriv, args: [`--reuid=${uid}`, `--regid=${gid}`, groups, '--', program, ...args], options }
}

/** Configuration files and keys. */
const READ_TIMEOUT_MS = 30_000

/**
 * Reads a file as somebody may, null for as we are: what root alone can read is not shown to another user by a copy.
 *
 * @param most bytes that it may have
 * @throws Error with the reason
 */
export async function readFileAs(account: Account | null, path: string, most: number): Promise<Buffer> {
  const found = statSync(path)
  if (!found.isFile()) throw new Error('it is not a regular file')
  if (found.size > most) throw new Error(`it has ${found.size} bytes`)
  if (account === null) return readFileSync(path)
  const { execa } = await import('execa')
  const { file, args, options } = commandAs(account, 'cat', ['--', path], {
    ...noSecrets,
    LC_ALL: 'C',
    PATH: process.env.PATH,
  })
  const { stdout, stderr, failed, isMaxBuffer } = await execa(file, args, {
    ...options,
    reject: false,
    stdin: 'ignore',
    encoding: 'buffer',
    maxBuffer: most,
    stripFinalNewline: false,
    timeout: READ_TIMEOUT_MS,
  })
  if (isMaxBuffer) throw new Error(`it has more than ${most} bytes`)
  if (failed) throw new Error(`${account.name} cannot read it: ${Buffer.from(stderr).toString('utf8').trim()}`)
  return Buffer.from(stdout)
}

function ownerOf(path: string): { uid: number; gid: number } | null {
  try {
    return statSync(path)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

async function lookUp(database: 'passwd' | 'group', id: number | string): Promise<string[] | undefined> {
  const { execa } = await import('execa')
  const { stdout, exitCode } = await execa('getent', [database, String(id)], {
    env: noSecrets,
    reject: false,
    stdin: 'ignore',
    timeout: 30_000,
  })
  return exitCode === 0 && typeof stdout === 'string' ? stdout.split('\n')[0]?.split(':') : undefined
}

/** Busybox has a `setpriv` that cannot change users. */
function isUtilLinux(path: string): boolean {
  return existsSync(path) && !realpathSync(path).includes('busybox')
}

function defined(env: Record<string, string | undefined>): Record<string, string> {
  const entries = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return Object.fromEntries(entries)
}
