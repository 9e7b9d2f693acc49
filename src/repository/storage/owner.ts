import { stat } from 'node:fs/promises'
import { NexusError } from '../../errors.js'
import { noSecrets } from '../../secret-variables.js'

/** Numeric user and group of a file. */
export interface Ids {
  uid: number
  gid: number
}

const name = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,62}\$?$/

/**
 * Looks up `user` or `user:group`; without a group the user's own. Needs root, because only root can give files away.
 * @throws NexusError usage
 */
export async function resolveOwner(owner: string): Promise<Ids> {
  const [user = '', group, ...more] = owner.split(':')
  if (more.length > 0 || !name.test(user) || (group !== undefined && !name.test(group))) {
    throw new NexusError('usage', 'owner_invalid', `${JSON.stringify(owner)} is not USER or USER:GROUP`, {
      hint: 'for example --owner postgres or --owner backup:backup',
    })
  }
  if (process.getuid?.() !== 0) {
    throw new NexusError('usage', 'owner_needs_root', 'only root can give a repository to another user', {
      hint: `run it with sudo, or without --owner as ${user} itself`,
    })
  }
  const uid = await ask('id', ['-u', '--', user], `there is no user ${user} on this machine`)
  if (group === undefined) return { uid, gid: await ask('id', ['-g', '--', user], `user ${user} has no group`) }
  return { uid, gid: await ask('getent', ['group', '--', group], `there is no group ${group} on this machine`) }
}

/** The number that a program prints: alone, or as the third field of a line of the group database. */
async function ask(program: string, args: string[], otherwise: string): Promise<number> {
  const { execa } = await import('execa')
  const { stdout, exitCode } = await execa(program, args, {
    env: noSecrets,
    reject: false,
    timeout: 30_000,
    maxBuffer: 1 << 20,
  })
  const text = program === 'getent' ? (stdout.split(':')[2] ?? '') : stdout
  const id = /^\d{1,10}$/.test(text.trim()) ? Number(text.trim()) : undefined
  if (exitCode === 0 && id !== undefined) return id
  throw new NexusError('usage', 'owner_unknown', otherwise, { hint: 'see who there is with: getent passwd' })
}

/** Throws `refused` when an existing repository belongs to somebody else. */
export async function assertOwner(location: string, owner: Ids): Promise<void> {
  const { uid, gid } = await stat(location)
  if (uid === owner.uid && gid === owner.gid) return
  throw new NexusError(
    'refused',
    'owner_differs',
    `the repository ${location} belongs to ${uid}:${gid}, not to ${owner.uid}:${owner.gid}`,
    {
      hint: `leave --owner out; or give it away as a whole: chown -R ${owner.uid}:${owner.gid} ${location}`,
    },
  )
}
