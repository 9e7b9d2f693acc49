import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { type EpochPrivate, epochPrivate, newEpochSecret } from '../../keys/epoch-keys.js'
import type { RecipientSettings } from '../../keys/recipient.js'
import { wrapFor } from '../../keys/wrapping.js'
import { reachOf } from '../../repository/keyring/wal-trust.js'
import { type Epoch, formatEpoch, parseEpoch } from '../../repository/keys/epoch.js'
import { epochFile, hostsDirectory, recipientFile } from '../../repository/keys/key-layout.js'
import { readOwnEpochs, writeBegun } from '../../repository/keys/key-room.js'
import { formatRecipient } from '../../repository/keys/recipient-file.js'
import type { Repository } from '../../repository/types.js'
import { loadKeyring } from '../trust/keyring-of.js'
import { renewRecoveryOf } from './renew-recovery.js'

/** One who is to open the epoch, and since when he could open the repository. */
export interface NewRecipient {
  settings: RecipientSettings
  label: string | null
  /** The name it has in the epoch before. */
  id?: string
  since: Date
}

/**
 * Begins an epoch: what recovers it without this program comes first, then its recipients, itself, and last the word that it
 * counts, so that one without recipients never comes to be. Nothing is written before everybody was reached.
 * @param before the epoch it follows, opened; null for a repository's first
 * @returns the recipients' ids in their order, and whether it counts: of several that begin at the same time only one does
 */
export async function beginEpoch(
  context: Pick<Context, 'keys' | 'now' | 'warn' | 'stateDirectory' | 'host'>,
  repository: Repository,
  recipients: readonly NewRecipient[],
  before: { id: string; keys: EpochPrivate } | null,
): Promise<{ epoch: Epoch; keys: EpochPrivate; ids: string[]; counts: boolean }> {
  if (recipients.length === 0) throw nobody()
  const { storage } = repository
  const access = context.keys
  const now = context.now()
  const keys = epochPrivate(newEpochSecret())
  const first = {
    ...(before === null ? { plain: await plainBackups(repository) } : {}),
    ...((await hasReach(repository)) ? {} : { unsignedWal: await archivedSoFar(repository) }),
    ...(before === null ? {} : await distrustedSoFar(context, repository)),
  }
  const { id, bytes } = await formatEpoch(keys, { repository: repository.id, now, ...first }, before)
  const ids: string[] = []
  const documents = new Map<string, Buffer>()
  for (const { settings, label, since, id: known } of recipients) {
    const wrapped = await wrapFor(settings, id, keys.secret, access.tools, known)
    documents.set(
      recipientFile(id, wrapped.id),
      formatRecipient(id, wrapped, { label, since, added: now }, keys.secret),
    )
    ids.push(wrapped.id)
  }
  await renewRecoveryOf(context, repository)
  for (const [name, document] of documents) await storage.writeOnce(name, document)
  await storage.writeOnce(epochFile(id), bytes)
  const counts = await writeBegun(storage, id, before?.id ?? null)
  access.remember(keys)
  return { epoch: parseEpoch(bytes, id), keys, ids, counts }
}

/** Whether an epoch of the repository's own tells already how far WAL may be unsigned. */
async function hasReach({ storage, id }: Repository): Promise<boolean> {
  const own = await readOwnEpochs(storage, id)
  return own.some(({ unsigned_wal: reach }) => reach !== undefined)
}

/** The keys against which the repository's own epochs have given their word. */
async function distrustedSoFar(
  context: Pick<Context, 'stateDirectory' | 'warn'>,
  repository: Repository,
): Promise<{ distrusted?: Record<string, string> }> {
  const keyring = await loadKeyring(context, repository, [])
  const distrusted: Record<string, string> = {}
  for (const { name, kind } of await repository.storage.list(hostsDirectory)) {
    const distrust = kind === 'directory' ? await keyring.distrustOf(name, undefined) : undefined
    if (distrust !== undefined) distrusted[name] = distrust.word.since
  }
  return Object.keys(distrusted).length === 0 ? {} : { distrusted }
}

/** How far each archive reaches: what comes after is signed, and nothing else counts. */
async function archivedSoFar(repository: Repository): Promise<Record<string, string>> {
  const reached: Record<string, string> = {}
  for (const source of await repository.sources()) {
    const room = repository.source(source)
    for (const system of await room.walSystems()) {
      const reach = reachOf(await room.wal(system).names())
      if (reach !== undefined) reached[`${source}/${system}`] = reach
    }
  }
  return reached
}

/** Where the backups end that were made before there was any key: others in plain are nobody's from now on. */
async function plainBackups(repository: Repository): Promise<Record<string, number>> {
  const highest: Record<string, number> = {}
  for (const source of await repository.sources()) {
    for (const entry of await repository.source(source).entries()) {
      if (entry.status !== 'ok' || entry.manifest.encryption !== undefined) continue
      highest[source] = Math.max(highest[source] ?? 0, entry.manifest.sequence)
    }
  }
  return highest
}

function nobody(): NexusError {
  return new NexusError('usage', 'recipients_missing', 'an encrypted repository needs somebody who can open it', {
    hint: 'make a key file with nexus-backup keys create FILE, and name it with --key-file FILE or in the configuration',
  })
}
