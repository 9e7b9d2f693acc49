// Loaded before the program (node --import): counts what it reads, and writes that down with its peak memory at the end.
import fs, { readFileSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { basename } from 'node:path'

const counts = { manifests: 0, lists: 0, indexes: 0, summaries: 0, other: 0, directories: 0 }
const repository = process.env.GROWTH_REPOSITORY
const source = process.env.GROWTH_SOURCE

/** What a file of the repository is; null for any other. */
function kindOf(path) {
  if (!String(path).startsWith(repository)) return null
  const name = basename(String(path))
  if (name === 'manifest.json') return 'manifests'
  if (name.startsWith('tree.jsonl')) return 'lists'
  if (name === 'blocks.idx') return 'indexes'
  return name.endsWith('.json.zst') ? 'summaries' : 'other'
}

const { open } = fs.promises
fs.promises.open = (path, ...rest) => {
  const kind = kindOf(path)
  if (kind !== null) counts[kind] += 1
  return open(path, ...rest)
}
// A walk opens each directory of the source once.
const { openSync } = fs
fs.openSync = (path, flags, ...rest) => {
  if (String(path).startsWith(source) && (flags & fs.constants.O_DIRECTORY) !== 0) counts.directories += 1
  return openSync(path, flags, ...rest)
}
syncBuiltinESMExports()

process.on('exit', () => {
  const { userCPUTime, systemCPUTime } = process.resourceUsage()
  const [, peak] = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  const result = { cpu: (userCPUTime + systemCPUTime) / 1e6, peak_mb: Number(peak) / 1024, ...counts }
  writeFileSync(process.env.GROWTH_RESULT, JSON.stringify(result))
})
