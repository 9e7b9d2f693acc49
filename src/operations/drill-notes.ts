import type { Selected } from './select.js'

/**
 * What the newest drill says against a backup that is about to be restored. Its bytes are those that were captured, so it is
 * said and nothing is refused.
 */
export function drillNotes({ manifest: { id }, survey }: Pick<Selected, 'manifest' | 'survey'>): string[] {
  const mark = survey.drills.get(id)
  if (mark === undefined) return []
  const found =
    mark.status === 'drill-failed'
      ? `the drill of ${mark.at} could not be carried out, so nobody has seen ${id} restored since`
      : `the drill of ${mark.at} restored ${id} as it was captured and found that content wrong`
  return [`${found}: nexus-backup verify ${id} --drill tells more`]
}
