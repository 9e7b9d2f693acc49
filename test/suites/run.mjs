// The end-to-end suites on every kind of repository, one kind after another: run.mjs [KIND…] [SUITE…]
// Ends with what passed, failed and was skipped, and with 1 when anything failed.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const every = ['local', 'encrypted', 's3', 's3-encrypted', 's3-single-writer']
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
  // A suite that could not even begin has no failed test.
  let broken = 0
  for (const { name, status: outcome, assertionResults: tests } of testResults.sort((a, b) =>
    a.name.localeCompare(b.name),
  )) {
    const skipped = count(tests, ['skipped', 'pending', 'todo'])
    const failed = count(tests, ['failed'])
    const counts = `${count(tests, ['passed'])} passed, ${failed} failed, ${skipped} skipped`
    const isBroken = outcome === 'failed' && failed === 0
    if (isBroken) broken += 1
    lines.push(`${kind}: ${basename(name, '.test.ts')}: ${counts}${isBroken ? ', COULD NOT RUN' : ''}`)
  }
  const { numPassedTests: passed, numFailedTests: failed, numPendingTests: skipped } = all
  const suitesBroken = broken > 0 ? `, ${broken} suites could not run` : ''
  lines.push(`${kind}: ${passed} passed, ${failed} failed, ${skipped} skipped${suitesBroken}`)
}
rmSync(scratch, { recursive: true })
process.stdout.write(`\n${lines.join('\n')}\n`)
process.exitCode = status
