import { NexusError } from '../../errors.js'
import { noSecrets } from '../../secret-variables.js'
import { type Account, namedAccount } from './run-as.js'

/**
 * The user whom a restored cluster belongs to and whose server runs on it: the one of the captured owner's name on this
 * machine, else his number. Null when we are not root: then everything is ours.
 *
 * @throws NexusError `refused` (`owner_is_root`) when neither is known: a server refuses to run as root
 */
export async function clusterAccount(captured: { owner: string; uid: number; gid: number }): Promise<Account | null> {
  if (process.geteuid?.() !== 0) return null
  const here = await idsOf(captured.owner)
  if (here !== undefined) return namedAccount(here.uid, here.gid)
  if (captured.uid !== 0) return namedAccount(captured.uid, captured.gid)
  throw new NexusError(
    'refused',
    'owner_is_root',
    'who owns the cluster is not known, and a server refuses to run as root',
    {
      hint: 'restore it as the user that the server shall run as: sudo -u postgres nexus-backup …',
    },
  )
}

async function idsOf(name: string): Promise<{ uid: number; gid: number } | undefined> {
  if (!/^[A-Za-z_][A-Za-z0-9_.-]*\$?$/.test(name)) return undefined
  const { execa } = await import('execa')
  const { stdout, exitCode } = await execa('getent', ['passwd', name], {
    env: noSecrets,
    reject: false,
    stdin: 'ignore',
    timeout: 30_000,
  })
  const [, , uid, gid] = exitCode === 0 ? stdout.split(':') : []
  if (uid === undefined || gid === undefined || uid === '0') return undefined
  return { uid: Number(uid), gid: Number(gid) }
}
