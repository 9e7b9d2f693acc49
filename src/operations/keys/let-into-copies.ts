import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { RecipientSettings } from '../../keys/recipient.js'
import { wrapFor } from '../../keys/wrapping.js'
import { recipientFile } from '../../repository/keys/key-layout.js'
import { readRecipients } from '../../repository/keys/key-room.js'
import { formatRecipient } from '../../repository/keys/recipient-file.js'
import type { Repository } from '../../repository/types.js'
import { epochHeads } from './epoch-heads.js'

/** One who was let into a repository's own epoch, under a name. */
export interface LetIn {
  id: string
  settings: RecipientSettings
}

/**
 * Copies are sealed to epochs of the repository that they come from: whoever is let in here is let into those too, as far
 * as a key at hand opens them. Where none does, that is said: he would be taken for one who can open everything here.
 * @returns whether anybody was let in
 */
export async function letIntoCopies(
  context: Context,
  repository: Repository,
  newcomers: readonly LetIn[],
  label: string | null,
): Promise<boolean> {
  const { storage, location } = repository
  let isAnybody = false
  for (const head of await epochHeads(context, repository)) {
    if (head.repository === repository.id) continue
    const present = new Set((await readRecipients(storage, head.id)).map(({ id }) => id))
    const missing = newcomers.filter(({ id }) => !present.has(id))
    if (missing.length === 0) continue
    const secret = await secretOf(context, repository, head.id)
    const names = missing.map(({ id }) => id).join(', ')
    if (secret === undefined) {
      context.warn(
        `no key at hand opens the copies in ${location} that are sealed to ${head.id}, so ${names} cannot open them either: run it again with --key-file FILE or --passphrase-file FILE of one who can`,
      )
      continue
    }
    for (const { id, settings } of missing) {
      const wrapped = await wrapFor(settings, head.id, secret, context.keys.tools, id)
      const now = context.now()
      await storage.writeOnce(
        recipientFile(head.id, wrapped.id),
        formatRecipient(head.id, wrapped, { label, since: now, added: now }, secret),
      )
      isAnybody = true
    }
  }
  return isAnybody
}

async function secretOf({ keys }: Context, { storage }: Repository, epoch: string): Promise<Uint8Array | undefined> {
  try {
    return (await keys.open(storage, epoch)).secret
  } catch (error) {
    if (error instanceof NexusError && (error.code === 'key_missing' || error.code === 'key_wrong')) return undefined
    throw error
  }
}
