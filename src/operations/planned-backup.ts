import { chainOf } from './chain-members.js'
import type { RestorePlan } from './requests.js'
import type { Selected } from './select.js'

/** What every plan of a restore says of the backup. @throws NexusError `damage` (`chain_broken`) */
export function plannedBackup({
  manifest,
  survey,
}: Pick<Selected, 'manifest' | 'survey'>): Pick<RestorePlan, 'id' | 'source' | 'captured_at' | 'chain'> {
  const chain = chainOf(manifest, new Map(survey.manifests.map(member => [member.id, member])))
  return {
    id: manifest.id,
    source: manifest.source,
    captured_at: manifest.captured_at,
    chain: chain.map(({ id }) => id),
  }
}
