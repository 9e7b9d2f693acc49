import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { epochFile, recipientFile } from '../../repository/keys/key-layout.js'
import { readEpochs, readRecipients } from '../../repository/keys/key-room.js'
import { openRepository } from '../../repository/open.js'
import { checkRootFiles } from '../../repository/root-files.js'
import type { Storage } from '../../repository/storage/storage.js'
import { missingKeys } from '../keys/kept-keys.js'
import type { VerifiedBackup } from '../results.js'

/** Checks the files in a repository's root and those that tell who opens it; a result only for what is damaged, with the repository's id as its name. */
export async function checkRepositories(
  context: Context,
  repositories: readonly RepositorySettings[],
): Promise<VerifiedBackup[]> {
  const results: VerifiedBackup[] = []
  for (const place of repositories) {
    const repository = await openRepository(place)
    const findings = [...(await checkRootFiles(repository.storage)), ...(await damagedKeys(repository.storage))]
    for (const part of await missingKeys(context, repository)) {
      findings.push({
        part,
        problem: 'is gone, and nobody took it out; this host has kept it: the next create puts it back',
      })
    }
    if (findings.length === 0) continue
    results.push({ id: repository.id, source: '', status: 'damaged', level: 'stored', findings, affects: [] })
  }
  return results
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
