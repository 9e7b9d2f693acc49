// The programs we compare with. One that is missing is reported, never passed over.
import { spawnSync } from 'node:child_process'

const asked = {
  zstd: ['zstd', '--version'],
  sqlite3: ['sqlite3', '--version'],
  restic: ['restic', 'version'],
  borg: ['borg', '--version'],
  pgbackrest: ['pgbackrest', 'version'],
  radosgw: ['radosgw', '--version'],
}

/** @returns {Record<string, string | undefined>} the first line of each one's version, undefined when not installed */
export function installedTools(litestream) {
  const wanted = { ...asked, litestream: [litestream ?? 'litestream', 'version'] }
  return Object.fromEntries(Object.entries(wanted).map(([name, command]) => [name, versionOf(command)]))
}

function versionOf([program, ...args]) {
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8' })
  if (status !== 0) return undefined
  return /v?\d+\.\d+(\.\d+)?/.exec(stdout)?.[0] ?? 'unknown version'
}

/** What a contestant lacks, in words, or undefined. */
export function missingTool(tools, ...needed) {
  const missing = needed.filter(name => tools[name] === undefined)
  return missing.length === 0 ? undefined : `${missing.join(', ')} not installed`
}
