import type { Manifest } from '../../repository/manifest.js'
import type { Proof } from '../../repository/types.js'

/** Names of checks that are no queries. */
const plainName = /^[a-z_]{1,40}$/

/** A proof as the repository may keep it: of an encrypted backup without what its checks ask and found. */
export function proofOf({ encryption }: Pick<Manifest, 'encryption'>, proof: Proof): Proof {
  if (encryption === undefined || proof.level !== 'drill') return proof
  const findings = proof.findings.map(({ part }) => ({ part: shown(part), problem: 'sealed' }))
  const { drill } = proof
  if (drill === undefined) return { ...proof, findings }
  const checks = drill.checks.map(({ name, status }) => ({ name: shown(name), status, detail: 'sealed' }))
  return { ...proof, findings, drill: { ...drill, checks } }
}

function shown(name: string): string {
  return plainName.test(name) ? name : 'content check'
}
