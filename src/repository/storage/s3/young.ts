import type { Bucket } from './bucket.js'
import { filesOf } from './extend-locks.js'

/**
 * Until when files cannot be removed, in their order: by their locks, and, in a repository of a single writer, until they
 * are so many milliseconds old by the server's clock. What another host writes meanwhile, unnoticed, may stand on them.
 */
export async function orYoung(
  bucket: Bucket,
  names: readonly string[],
  locked: readonly (Date | undefined)[],
  age: number,
): Promise<(Date | undefined)[]> {
  if (bucket.locking !== 'single-writer') return names.map((_, at) => locked[at])
  const old = new Map((await filesOf(bucket, names)).map(({ name, modified }) => [name, modified.getTime() + age]))
  return names.map((name, at) => {
    const until = Math.max(old.get(name) ?? 0, locked[at]?.getTime() ?? 0)
    return until > bucket.serverNow().getTime() ? new Date(until) : undefined
  })
}
