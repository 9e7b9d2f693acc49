import type { RepositorySettings } from '../../config/settings.js'
import { openRepository } from '../../repository/open.js'
import { checkRootFiles } from '../../repository/root-files.js'
import type { VerifiedBackup } from '../results.js'

/** Checks the files in a repository's root; a result only for what is damaged, with the repository's id as its name. */
export async function checkRepositories(repositories: readonly RepositorySettings[]): Promise<VerifiedBackup[]> {
  const results: VerifiedBackup[] = []
  for (const place of repositories) {
    const repository = await openRepository(place)
    const findings = await checkRootFiles(repository.storage)
    if (findings.length === 0) continue
    results.push({ id: repository.id, source: '', status: 'damaged', level: 'stored', findings, affects: [] })
  }
  return results
}
