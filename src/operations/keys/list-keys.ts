import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import type { Keyring } from '../../repository/keyring/keyring.js'
import { type Epoch, fingerprintOf } from '../../repository/keys/epoch.js'
import { readHost } from '../../repository/keys/host-file.js'
import { hostsDirectory, isSignerId } from '../../repository/keys/key-layout.js'
import { readEpochs, readRecipients } from '../../repository/keys/key-room.js'
import { openRepository } from '../../repository/open.js'
import type { Repository } from '../../repository/types.js'
import { keyringOf } from '../trust/keyring-of.js'
import { currentOrNone, listedRecipient, warnOfAge } from './repository-keys.js'
import type { KeysListResult, ListedHost, ListedKeys } from './results.js'

/** Who can open the repositories, since when, and whose signatures they know. Needs no key. */
export async function listKeys(context: Context, repositories: readonly RepositorySettings[]): Promise<KeysListResult> {
  const listed: ListedKeys[] = []
  for (const settings of repositories) listed.push(await listOne(context, settings))
  return { command: 'keys list', repositories: listed }
}

async function listOne(context: Context, settings: RepositorySettings): Promise<ListedKeys> {
  const repository = await openRepository(settings)
  const { storage, location } = repository
  const current = await currentOrNone(context, repository)
  const epochs: ListedKeys['epochs'] = []
  const keyring = await keyringOf(context, repository)
  const lines = await countingLines(repository, keyring)
  const counting = new Set(lines.flat().map(({ id }) => id))
  for (const epoch of await readEpochs(storage)) {
    const recipients = (await readRecipients(storage, epoch.id)).map(recipient =>
      listedRecipient(recipient, context.now(), settings),
    )
    if (epoch.id === current?.id) warnOfAge(context, repository, recipients)
    const { id, created } = epoch
    const fingerprint = fingerprintOf(epoch)
    epochs.push({ id, created, fingerprint, current: id === current?.id, is_trusted: counting.has(id), recipients })
  }
  const hosts = await hostsOf(repository, keyring, lines)
  return { repository: location, encrypted: current !== undefined, epochs, hosts }
}

/** Lines of epochs that count for something here: the repository's own, and those that came with copies. */
async function countingLines(repository: Repository, keyring: Keyring): Promise<(readonly Epoch[])[]> {
  const lines = [keyring.own]
  for (const source of await repository.sources()) lines.push(...(await keyring.linesOf(source)))
  return lines
}

/** A host counts as trusted by the epochs that count. */
async function hostsOf(
  { storage }: Repository,
  keyring: Keyring,
  lines: readonly (readonly Epoch[])[],
): Promise<ListedHost[]> {
  const hosts: ListedHost[] = []
  for (const { name } of await storage.list(hostsDirectory)) {
    const id = name.endsWith('.json') ? name.slice(0, -'.json'.length) : ''
    const host = isSignerId(id) ? await readHost(storage, id) : undefined
    if (host === undefined) continue
    const isTrusted = await keyring.isVouched(host, lines.flat())
    hosts.push({ id, host: host.host, registered: host.registered, is_trusted: isTrusted })
  }
  return hosts
}
