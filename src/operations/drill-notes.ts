import { lostFrom } from '../sources/postgres/data-links.js'
import type { Selected } from './select.js'

/**
 * What a backup that is about to be restored lacks, and what the newest drill says against it. Its bytes are those that were
 * captured, so it is said and nothing is refused.
 */
export function drillNotes({ manifest, survey }: Pick<Selected, 'manifest' | 'survey'>): string[] {
  const { id } = manifest
  const lost = lostFrom(manifest).map(warning => `${id} lacks data that its server left out: ${warning}`)
  const mark = survey.drills.get(id)
  if (mark === undefined) return lost
  const found =
    mark.status === 'drill-failed'
      ? `the drill of ${mark.at} could not be carried out, so nobody has seen ${id} restored since`
      : `the drill of ${mark.at} restored ${id} as it was captured and found that content wrong`
  return [...lost, `${found}: nexus-backup verify ${id} --drill tells more`]
}
