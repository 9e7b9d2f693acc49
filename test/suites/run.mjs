// The end-to-end suites on every kind of repository, one kind after another: run.mjs [KIND…] [SUITE…]
// Ends with what passed, failed and was skipped, and with 1 when anything failed.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const every = ['local', 'encrypted', 's3', 's3-encrypted']
const words = process.argv.slice(2)
const kinds = words.some(word => every.includes(word)) ? every.filter(kind => words.includes(kind)) : every
const suites = words.filter(word => !every.includes(word)).map(name => `end-to-end/${name}.test.ts`)

const root = fileURLToPath(new URL('../..', import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), 'nexus-backup-suites-'))
const lines = []
let status = 0
for (const kind of kinds) {
  process.stdout.write(`\n${kind}\n`)
  const results = join(scratch, `${kind}.json`)
  const args = ['vitest', 'run', '--config', 'test/suites/vitest.config.ts', ...suites]
  const env = { ...process.env, NEXUS_TEST_REPOSITORY: kind, VITEST_RESULTS: results }
  if (spawnSync('npx', args, { cwd: root, env, stdio: 'inherit' }).status !== 0) status = 1
  const { testResults, ...all } = JSON.parse(readFileSync(results, 'utf8'))
  const count = (tests, wanted) => tests.filter(test => wanted.includes(test.status)).length
  for (const { name, assertionResults: tests } of testResults.sort((a, b) => a.name.localeCompare(b.name))) {
    const skipped = count(tests, ['skipped', 'pending', 'todo'])
    const counts = `${count(tests, ['passed'])} passed, ${count(tests, ['failed'])} failed, ${skipped} skipped`
    lines.push(`${kind}: ${basename(name, '.test.ts')}: ${counts}`)
  }
  const { numPassedTests: passed, numFailedTests: failed, numPendingTests: skipped } = all
  lines.push(`${kind}: ${passed} passed, ${failed} failed, ${skipped} skipped`)
}
rmSync(scratch, { recursive: true })
process.stdout.write(`\n${lines.join('\n')}\n`)
process.exitCode = status
