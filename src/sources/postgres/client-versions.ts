/** First minor release of each major that fixes CVE-2026-6475 and CVE-2026-6477 (anchors/postgres.md section 0). */
const fixedMinor: Readonly<Record<number, number>> = { 14: 23, 15: 18, 16: 14, 17: 10, 18: 4 }
const NEWEST_LISTED = 18

/**
 * A warning about client programs that are known to be vulnerable, or null.
 * @param version as `pg_basebackup --version` tells it: `15.18`
 */
export function vulnerableClient(version: string, directory: string): string | null {
  const [major = 0, minor = Number.NaN] = version.split('.').map(Number)
  if (!Number.isInteger(major) || major > NEWEST_LISTED) return null
  const fixed = fixedMinor[major]
  const which = `PostgreSQL’s client programs ${version} in ${directory}`
  if (fixed === undefined) return `${which} are out of support and keep CVE-2026-6475 and CVE-2026-6477: use newer ones`
  if (!Number.isInteger(minor) || minor >= fixed) return null
  return `${which} have CVE-2026-6475 and CVE-2026-6477: update them to ${major}.${fixed} or later`
}
