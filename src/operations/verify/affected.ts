import { bySequence } from '../../policy/chains.js'
import type { Manifest } from '../../repository/manifest.js'
import type { VerifiedBackup } from '../results.js'

/**
 * Says of each damaged backup what it takes down with it. What stands on several is named once, by the one nearest to the
 * full; the damaged ones among it name that as their `cause`. So a chain costs no more than its length.
 */
export function nameAffected(results: readonly VerifiedBackup[], manifests: Iterable<Manifest>): void {
  const damaged = new Map(results.flatMap(result => (result.status === 'damaged' ? [[result.id, result]] : [])))
  const causes = new Map<string, string>()
  for (const result of damaged.values()) result.affects = [result.id]
  for (const { id, parent } of [...manifests].sort(bySequence)) {
    if (parent === null || parent === id) continue
    const cause = causes.get(parent) ?? (damaged.has(parent) ? parent : undefined)
    if (cause === undefined) continue
    causes.set(id, cause)
    damaged.get(cause)?.affects.push(id)
    const own = damaged.get(id)
    if (own !== undefined) own.cause = cause
  }
}
