import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { EncryptionSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { keysDirectory } from '../../repository/keys/key-layout.js'
import type { Repository } from '../../repository/types.js'
import type { JudgedWal, WalSeal } from '../../repository/wal/wal-seal.js'

type Reading = Pick<Context, 'keys' | 'stateDirectory' | 'warn'>

/**
 * Opens sealed files of the log, with whatever key is at hand when the first one is read, and tells which are not ours.
 * @param wishes.untrusted takes those too, with a warning of each
 */
export function walReader(
  context: Reading,
  repository: Repository,
  { untrusted = false }: { untrusted?: boolean | undefined } = {},
): WalSeal {
  return {
    writing: null,
    open: epoch => context.keys.open(repository.storage, epoch),
    async judge(file) {
      const problem = await judge(context, repository, file)
      if (!untrusted || problem === undefined) return problem
      context.warn(`${file.header.name} ${problem}; it is taken because --untrusted says so`)
      return undefined
    },
  }
}

async function judge(
  context: Reading,
  repository: Repository,
  { source, header, hasKeys }: JudgedWal,
): Promise<string | undefined> {
  const isPlain = header.encryption === undefined && header.signer === undefined
  // A server waits for each segment: where nothing is encrypted, nothing more is asked or loaded.
  if (isPlain && !(await isKnown(context, repository)) && !(await hasKeys())) return undefined
  const [{ keyringOf }, { walProblem }] = await Promise.all([
    import('../trust/keyring-of.js'),
    import('../../repository/keyring/wal-trust.js'),
  ])
  return walProblem(await keyringOf(context, repository), source, header)
}

/**
 * Seals and signs files of the log too, where the repository is encrypted: the public half is enough.
 * @throws NexusError refused `encryption_missing` when the configuration wants encryption and the repository has none,
 *   `wal_unsigned` where this host must sign and cannot
 */
export async function walSealFor(
  context: Context,
  repository: Repository,
  wanted: EncryptionSettings | undefined,
): Promise<WalSeal> {
  const reader = walReader(context, repository)
  // The server waits for each segment: what is not needed is not even loaded.
  if (
    wanted === undefined &&
    !(await isKnown(context, repository)) &&
    (await repository.storage.list(keysDirectory)).length === 0
  ) {
    return reader
  }
  const { walSealing } = await import('./wal-writing.js')
  return { ...reader, writing: await walSealing(context, repository, wanted) }
}

/** Whether this host knows the repository, or another one in its place, to be encrypted. */
async function isKnown(context: Pick<Context, 'stateDirectory'>, repository: Repository): Promise<boolean> {
  const directory = join(context.stateDirectory, 'keys')
  if (existsSync(join(directory, `${repository.id}.json`))) return true
  if (!existsSync(join(directory, 'places'))) return false
  const { isPlaceKnown } = await import('./known-places.js')
  return isPlaceKnown(context, repository)
}
