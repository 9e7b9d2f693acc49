import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { epochFile, recipientFile } from '../../repository/keys/key-layout.js'
import { readEpochs, readRecipients } from '../../repository/keys/key-room.js'
import { repositoryFile } from '../../repository/layout.js'
import { openRepository } from '../../repository/open.js'
import { checkRootFiles } from '../../repository/root-files.js'
import { type RecoveryTrust, recoveryTrust } from '../../repository/root-trust.js'
import type { Storage } from '../../repository/storage/storage.js'
import type { Repository } from '../../repository/types.js'
import { missingKeys } from '../keys/kept-keys.js'
import type { VerifiedBackup, VerifiedRecovery } from '../results.js'
import { placeProblem } from '../sealing/known-places.js'
import { keyringOf } from '../trust/keyring-of.js'

/** What was found of repositories as a whole. */
export interface CheckedRepositories {
  /** Only of what is not as it must be, with the repository's id as its name and no source. */
  results: VerifiedBackup[]
  recovery: VerifiedRecovery[]
}

/** Checks the files in each repository's root, whose they are, and those that tell who opens it. */
export async function checkRepositories(
  context: Context,
  repositories: readonly RepositorySettings[],
): Promise<CheckedRepositories> {
  const results: VerifiedBackup[] = []
  const recovery: VerifiedRecovery[] = []
  for (const place of repositories) {
    const repository = await openRepository(place)
    const findings = [...(await checkRootFiles(repository.storage)), ...(await damagedKeys(repository.storage))]
    const replaced = await placeProblem(context, repository).catch(() => undefined)
    if (replaced !== undefined) findings.push({ part: repositoryFile, problem: replaced })
    for (const part of await missingKeys(context, repository)) {
      findings.push({
        part,
        problem: 'is gone, and nobody took it out; this host has kept it: the next create puts it back',
      })
    }
    const { status, edition, sha256, findings: foreign } = await judged(context, repository)
    recovery.push({ repository: repository.location, status, edition, sha256 })
    const result = { id: repository.id, source: '', level: 'stored' as const, affects: [] }
    if (findings.length > 0) results.push({ ...result, status: 'damaged', findings })
    if (foreign.length === 0) continue
    results.push({ ...result, status: status === 'newer' ? 'unread' : 'untrusted', findings: foreign })
  }
  return { results, recovery }
}

/** Another run may renew them meanwhile: what is not genuine is looked at again. */
async function judged(context: Context, repository: Repository): Promise<RecoveryTrust> {
  const keyring = await keyringOf(context, repository)
  const found = await recoveryTrust(repository, keyring)
  return found.status === 'genuine' ? found : recoveryTrust(repository, keyring)
}

/** Damaged entries of epochs and recipients: nobody needs them as long as there are others, and then it is too late. */
async function damagedKeys(storage: Storage): Promise<VerifiedBackup['findings']> {
  const findings: VerifiedBackup['findings'] = []
  const epochs = await readEpochs(storage, ({ message }, id) =>
    findings.push({ part: epochFile(id), problem: message }),
  )
  for (const { id: epoch } of epochs) {
    await readRecipients(storage, epoch, ({ message }, id) =>
      findings.push({ part: recipientFile(epoch, id), problem: message }),
    )
  }
  return findings
}
