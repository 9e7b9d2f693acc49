import type { HookCommand } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import { type Account, accountNamed } from '../../sources/postgres/run-as.js'
import { effectiveUser } from '../../system/ownership.js'

/** What a hook of another user gets of our environment: nothing in it is a secret of ours. */
const HANDED_ON = /^(?:PATH|TZ|LANG|LANGUAGE|LC_[A-Z]+)$/

/**
 * The account as which a hook is run; null for the user of the command.
 *
 * @throws NexusError `refused` (`hook_user`) when there is no such user, or this user may not run programs as that one
 */
export async function hookAccount(source: string, { user }: Pick<HookCommand, 'user'>): Promise<Account | null> {
  if (user === undefined) return null
  const account = await accountNamed(user)
  if (account === null) {
    throw new NexusError('refused', 'hook_user', `${source}: there is no user ${user} to run its hooks as`, {
      hint: `put user: in the configuration right; see: getent passwd ${user}; no backup was made`,
    })
  }
  if (effectiveUser() === 0 || effectiveUser() === account.uid) return account
  throw new NexusError('refused', 'hook_user', `${source}: only root and ${user} can run its hooks as ${user}`, {
    hint: `run this as root, or leave user: out of the hooks of ${source}; no backup was made`,
  })
}

/** The environment of a hook that runs as another user than its command. */
export function handedOn(env: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => HANDED_ON.test(name)))
}
