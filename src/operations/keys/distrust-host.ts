import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import { type Distrust, formatDistrust, MOST_SPARED, readDistrust } from '../../repository/keys/distrust-file.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import { type HostDocument, readHost } from '../../repository/keys/host-file.js'
import { distrustFile, vouchDirectory } from '../../repository/keys/key-layout.js'
import type { Manifest } from '../../repository/manifest.js'
import { openRepository } from '../../repository/open.js'
import type { Repository } from '../../repository/types.js'
import { once } from '../sealing/sealing-for.js'
import { judge, loadHistory } from '../survey.js'
import { withKeysLocked } from './keys-locked.js'
import { currentOf } from './repository-keys.js'
import type { KeysDistrustResult } from './results.js'
import { hostMissing } from './trust-host.js'

export interface KeysDistrustRequest {
  repository: RepositorySettings
  /** The signing key. */
  id: string
  /** Believe none of its backups, not even those that are ours now. */
  all: boolean
  dryRun: boolean
}

/**
 * Gives the current epoch's word against a host's signing key, which only who opens the epoch can do: what it signs counts
 * no more. The backups that are ours now stay so, by the digests of their manifests, unless `all` is set. It is not taken
 * back; a host whose key was stolen makes a new one.
 *
 * @throws NexusError not-found for a key that no host has registered, refused when no key here opens the repository,
 *   there are too many backups to be spared, or something else lies in the word's place (`distrust_taken`); locked
 */
export async function distrustHost(
  context: Context,
  journal: Journal,
  { repository: settings, id, all, dryRun }: KeysDistrustRequest,
): Promise<KeysDistrustResult> {
  const repository = await openRepository(settings)
  const { storage, location } = repository
  const subject = { operation: 'keys distrust', source: null, repository: location }
  const work = async (): Promise<KeysDistrustResult> => {
    const current = await currentOf(context, repository)
    const host = await readHost(storage, id)
    if (host === undefined) throw hostMissing(location, id)
    const keys = await context.keys.open(storage, current.id)
    const ours = await signedBy(context, repository, id)
    const spared = all ? [] : ours
    if (spared.length > MOST_SPARED) throw tooMany(location, id, spared.length)
    const bytes = formatDistrust(host, { id: current.id, keys }, spared, context.now())
    if (!dryRun) {
      await once(storage.writeOnce(distrustFile(id, current.id), bytes))
      // Whoever may add files can lay something into its place, and an earlier word of this epoch may spare more.
      const word = await wordOf(repository, host, current)
      if (word === undefined || ours.some(one => word.spares(one) !== spared.includes(one)))
        throw taken(location, id, current)
    }
    return { command: 'keys distrust', repository: location, id, host: host.host, spared: spared.map(one => one.id) }
  }
  return recorded(context, journal, subject, () =>
    dryRun ? work() : withKeysLocked(context, repository, 'keys distrust', work),
  )
}

/** The backups of all sources that are ours by the signature of a key. */
async function signedBy(context: Context, repository: Repository, signer: string): Promise<Manifest[]> {
  const found: Manifest[] = []
  for (const source of await repository.sources()) {
    const room = repository.source(source)
    const { manifests } = judge(room, await loadHistory(context, room, { thorough: true }), [], context.now())
    found.push(...manifests.filter(({ encryption }) => encryption?.signer === signer))
  }
  return found
}

async function wordOf({ storage }: Repository, host: HostDocument, epoch: Epoch): Promise<Distrust | undefined> {
  const names = new Set((await storage.list(vouchDirectory(host.id))).map(({ name }) => name))
  return readDistrust(storage, { host, names }, [epoch])
}

function taken(location: string, id: string, epoch: Epoch): NexusError {
  return new NexusError(
    'refused',
    'distrust_taken',
    `the key ${id} is not distrusted as asked: ${distrustFile(id, epoch.id)} in ${location} is there already and says something else`,
    {
      hint: `let a new epoch give its word: nexus-backup keys rotate --repo ${location}; then run this again`,
    },
  )
}

function tooMany(location: string, id: string, count: number): NexusError {
  return new NexusError(
    'refused',
    'distrust_too_many',
    `${count} backups in ${location} are signed with the key ${id}, and ${MOST_SPARED} can be spared at most`,
    { hint: `prune first, or believe none of them: nexus-backup keys distrust ${id} --all --repo ${location}` },
  )
}
