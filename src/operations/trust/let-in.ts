import type { Keyring } from '../../repository/keyring/keyring.js'
import type { Repository } from '../../repository/types.js'
import { shellQuoted } from '../shell.js'

/** What keeps a key from counting, and what its host does about it. */
interface LetIn {
  /** Says of the key why it does not count, as the rest of a sentence. */
  problem: string
  /** What to do, with the exact command; `keys trust` refuses a key that is distrusted. */
  remedy: string
  isDistrusted: boolean
}

/**
 * How a host whose key does not count in a repository comes to count.
 * @param whose state directory has the key: `this host`, `the server’s user` …
 * @param source that it is asked for; undefined for the repository as a whole
 */
export async function letIn(
  keyring: Keyring,
  { location }: Pick<Repository, 'location'>,
  { signer, source, whose }: { signer: string; source: string | undefined; whose: string },
): Promise<LetIn> {
  const distrust = await keyring.distrustOf(signer, source)
  if (distrust === undefined) {
    const command = `nexus-backup keys trust ${signer} --repo ${shellQuoted(location)} --key-file FILE`
    return {
      problem: 'for which nobody has vouched',
      remedy: `with a key that opens ${location}, once: ${command}`,
      isDistrusted: false,
    }
  }
  return {
    problem: `which is distrusted since ${distrust.word.since}`,
    remedy: `${movedAway(whose)} and names the command that vouches for it`,
    isDistrusted: true,
  }
}

/** A key that is distrusted stays so: the host makes another. */
function movedAway(whose: string): string {
  return `move keys/signing-key out of the state directory of ${whose}: its next run makes a new one`
}
