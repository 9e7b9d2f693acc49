import { statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The working tree under test, with a slash at its end. */
export const checkout = fileURLToPath(new URL('../..', import.meta.url))

/** A path in the working tree as a user reaches it who may not enter every directory above it, such as /root. */
export function forOthers(path: string): string {
  const shared = process.env.NEXUS_BACKUP_TEST_CHECKOUT
  return shared !== undefined && path.startsWith(checkout) ? join(shared, path.slice(checkout.length)) : path
}

/** Whether everybody may enter the working tree. */
export function isReachable(path = checkout): boolean {
  const open = (statSync(path).mode & 0o001) !== 0
  return open && (dirname(path) === path || isReachable(dirname(path)))
}
