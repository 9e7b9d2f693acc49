import { readFileSync } from 'node:fs'

/** Names of users and groups, from the system's own lists; empty for a number that has none there. */
export interface Accounts {
  userOf(uid: number): string
  groupOf(gid: number): string
}

/** Reads the lists once: they are asked for every file. */
export function readAccounts(): Accounts {
  const users = namesIn('/etc/passwd')
  const groups = namesIn('/etc/group')
  return { userOf: uid => users.get(uid) ?? '', groupOf: gid => groups.get(gid) ?? '' }
}

/** passwd(5), group(5): name, password, number. The first of several names counts, as in getpwuid(3). */
function namesIn(file: string): Map<number, string> {
  const names = new Map<number, string>()
  let text = ''
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    // No such list: the numbers say enough.
  }
  for (const line of text.split('\n')) {
    const [name, , id] = line.split(':')
    if (name !== undefined && id !== undefined && /^\d+$/.test(id) && !names.has(Number(id)))
      names.set(Number(id), name)
  }
  return names
}
