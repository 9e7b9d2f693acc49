import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { checksumsLimit, parseChecksums } from '../../repository/checksums.js'
import { checksumsFile, repositoryFile } from '../../repository/layout.js'
import { type SignedFiles, trustedFiles, writeRecoverySignature } from '../../repository/recovery-signature.js'
import { sha256Of } from '../../repository/root-files.js'
import { recoveryFiles } from '../../repository/root-making.js'
import { isKept, renewRecovery } from '../../repository/root-renewal.js'
import { isUnknown, presentFiles } from '../../repository/root-trust.js'
import type { Repository } from '../../repository/types.js'
import { loadKeyring } from '../trust/keyring-of.js'
import { warnOnce } from '../trust/warn-once.js'
import { hostSigner } from './host-keys.js'

type Told = Pick<Context, 'warn' | 'stateDirectory' | 'host' | 'now'>

/**
 * Makes sure that the recover.mjs in a repository is genuine and opens what is encrypted there; one that nobody may replace
 * stays, and that is said.
 * @param quiet says nothing of one that is old and genuine
 * @returns whether anything was written
 */
export async function renewRecoveryOf(
  context: Told,
  repository: Repository,
  { quiet = false }: { quiet?: boolean } = {},
): Promise<boolean> {
  const { location } = repository
  try {
    return await renewNow(context, repository)
  } catch (error) {
    if (!isKept(error)) throw error
    const problem = await problemOfKept(repository, quiet)
    if (problem === undefined) return false
    warnOnce(
      context,
      `${location} keeps the recover.mjs that it has, ${problem} (${messageOf(error)}); keep the one of this program with the key`,
    )
    return false
  }
}

/** The same with every error thrown. @returns whether anything was written */
export async function renewNow(context: Told, repository: Repository): Promise<boolean> {
  return renewRecovery(repository.storage, async () => {
    const keyring = await loadKeyring(context, repository, [])
    return keyring.hasLines ? trustedFiles(repository, keyring) : null
  })
}

/**
 * Gives this host's word for the files that recover an encrypted repository. A host that nobody vouches for gives none, and
 * what this program does not know is not signed.
 * @returns whether this host has signed them
 */
export async function signRecoveryOf(context: Told, repository: Repository): Promise<boolean> {
  const { storage } = repository
  const keyring = await loadKeyring(context, repository, [])
  if (!keyring.hasLines) return false
  const ours = await recoveryFiles()
  const present = await presentFiles(storage, [...ours.keys(), repositoryFile])
  if ([...ours.keys()].some(name => !present.has(name) || isUnknown(name, present.get(name), []))) return false
  const files = Object.fromEntries([...present].map(([name, bytes]) => [name, sha256Of(bytes)]))
  if (!(await isSummed(repository, files))) return false
  const signer = await hostSigner(context)
  if (!(await keyring.countsAnywhere(signer.id, () => true, repository.sources))) return false
  await writeRecoverySignature(repository, files, signer, context.now())
  return true
}

/** nexus-backup.json is signed only as it was written. */
async function isSummed({ storage }: Repository, files: SignedFiles): Promise<boolean> {
  try {
    const sums = parseChecksums(await storage.readSmall(checksumsFile, checksumsLimit), checksumsFile)
    return sums.get(repositoryFile) === files[repositoryFile]
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'damage' || error.kind === 'not-found')) return false
    throw error
  }
}

async function problemOfKept({ storage }: Repository, quiet: boolean): Promise<string | undefined> {
  const present = await presentFiles(storage, ['recover.mjs'])
  if (isUnknown('recover.mjs', present.get('recover.mjs'), [])) {
    return 'which is of no version that this program knows: never run it with a key'
  }
  return quiet ? undefined : 'which may be too old to open encrypted backups'
}
