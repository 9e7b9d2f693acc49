import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { isVouchedFor, readHost } from '../../repository/keys/host-file.js'
import { hostsDirectory, isSignerId } from '../../repository/keys/key-layout.js'
import { readEpochs, readOwnEpochs, readRecipients } from '../../repository/keys/key-room.js'
import { openRepository } from '../../repository/open.js'
import type { Repository } from '../../repository/types.js'
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
  for (const { id, created } of await readEpochs(storage)) {
    const recipients = (await readRecipients(storage, id)).map(recipient =>
      listedRecipient(recipient, context.now(), settings),
    )
    if (id === current?.id) warnOfAge(context, repository, recipients)
    epochs.push({ id, created, current: id === current?.id, recipients })
  }
  return { repository: location, encrypted: current !== undefined, epochs, hosts: await hostsOf(repository) }
}

/** A host counts as trusted by the repository's own epochs; where there are none, by those of what was copied there. */
async function hostsOf({ storage, id: repository }: Repository): Promise<ListedHost[]> {
  const own = await readOwnEpochs(storage, repository)
  const epochs = own.length > 0 ? own : await readEpochs(storage)
  const hosts: ListedHost[] = []
  for (const { name } of await storage.list(hostsDirectory)) {
    const id = name.endsWith('.json') ? name.slice(0, -'.json'.length) : ''
    const host = isSignerId(id) ? await readHost(storage, id) : undefined
    if (host === undefined) continue
    const isTrusted = await isVouchedFor(storage, host, epochs)
    hosts.push({ id, host: host.host, registered: host.registered, is_trusted: isTrusted })
  }
  return hosts
}
