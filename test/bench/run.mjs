#!/usr/bin/env node
// Speed and size of SQLite backups beside the tools that people use, in one run on one database (design section 8).
//
//   npm run bench -- [--size-mb 1024] [--runs 3] [--json FILE] [--litestream PROGRAM] [--only start,full,restore,incr,log,s3,cluster,wal]
//
// Median of the runs, which go round in turns; memory is the largest of them. The page cache is warm and nothing is
// left to be written when a run begins. Everything lies below TMPDIR and is removed.
// Litestream 0.3 comes with npm install --prefix DIR @flydotio/litestream.
//
//   npm run bench -- growth […]          how time, memory and reads grow: see growth.mjs
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { makeDatabase, openApplication } from './database.mjs'
import { measuresMemory } from './measure.mjs'
import { judged, markdown } from './report.mjs'
import { clusterRows } from './rows-cluster.mjs'
import { fullRows } from './rows-full.mjs'
import { incrRows } from './rows-incr.mjs'
import { logRows } from './rows-log.mjs'
import { restoreRows } from './rows-restore.mjs'
import { s3Rows } from './rows-s3.mjs'
import { startRows } from './rows-start.mjs'
import { walRows } from './rows-wal.mjs'
import { installedTools } from './tools.mjs'

if (process.argv[2] === 'growth') {
  const { growth } = await import('./growth.mjs')
  growth(process.argv.slice(3))
  process.exit()
}
const { values } = parseArgs({
  options: {
    'size-mb': { type: 'string', default: '1024' },
    runs: { type: 'string', default: '3' },
    json: { type: 'string' },
    litestream: { type: 'string' },
    only: { type: 'string', default: 'start,full,restore,incr,log,s3,cluster,wal' },
  },
})
const megabytes = Number(values['size-mb'])
const runs = Number(values.runs)
if (!(megabytes >= 1 && runs >= 1)) throw new Error('--size-mb and --runs must be numbers from 1')
const wanted = new Set(values.only.split(','))
const say = text => process.stderr.write(`bench: ${text}\n`)
const scratch = mkdtempSync(join(tmpdir(), 'nexus-backup-bench-'))
process.once('exit', () => rmSync(scratch, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1))

const database = join(scratch, 'itsm_nexus.db')
const room = join(scratch, 'room')
writeFileSync(join(scratch, 'password'), 'bench\n')
const env = {
  DB: database,
  ROOM: room,
  BENCH: fileURLToPath(new URL('.', import.meta.url)),
  PROGRAM: fileURLToPath(new URL('../../bin/nexus-backup', import.meta.url)),
  LITESTREAM: values.litestream ?? 'litestream',
  RESTIC_REPOSITORY: join(room, 'restic'),
  RESTIC_PASSWORD_FILE: join(scratch, 'password'),
  RESTIC_CACHE_DIR: join(room, 'restic-cache'),
  BORG_BASE_DIR: join(room, 'borg-base'),
  BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
  BORG_RELOCATED_REPO_ACCESS_IS_OK: 'yes',
}
const tools = installedTools(values.litestream)
const settings = { tools, env, scratch, room, database, megabytes, runs, warm: [database], say }

const sections = []
if (['start', 'full', 'restore', 'incr', 'log', 's3'].some(name => wanted.has(name))) {
  sections.push(...(await databaseRows()))
}
if (wanted.has('cluster')) sections.push(...clusterRows(settings))
if (wanted.has('wal')) sections.push(...walRows(settings))

const results = sections.map(judged)
const versions = Object.entries(tools).map(([name, version]) => `${name} ${version ?? 'not installed'}`)
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
const machine = {
  cpus: cpus().length,
  cpu: cpus()[0]?.model ?? 'unknown',
  memory_mb: Math.round(totalmem() / 1048576),
  kernel: execFileSync('uname', ['-r'], { encoding: 'utf8' }).trim(),
  node: process.versions.node,
}
if (!measuresMemory) say('peak memory is not measured: it needs the package `time`')
process.stdout.write(
  `${machine.cpus} x ${machine.cpu}, ${machine.memory_mb} MB of memory, Linux ${machine.kernel}, Node ${machine.node}; ` +
    `nexus-backup ${version}, ${versions.join(', ')}; ${megabytes} MB, median of ${runs}\n\n${markdown(results)}`,
)
if (values.json !== undefined) {
  const document = {
    format_version: '1.0',
    machine,
    tools: { nexus_backup: version, ...tools },
    megabytes,
    runs,
    sections: results,
  }
  writeFileSync(values.json, `${JSON.stringify(document, null, 2)}\n`)
}

async function databaseRows() {
  say(`making a database of ${megabytes} MB in ${scratch}`)
  makeDatabase(database, megabytes)
  const found = []
  if (wanted.has('start')) found.push(startRows(settings))
  const application = openApplication(database)
  if (wanted.has('full')) found.push(fullRows(settings))
  if (wanted.has('restore')) found.push(restoreRows(settings))
  if (wanted.has('incr')) found.push(incrRows({ ...settings, application }))
  application.close()
  if (wanted.has('s3')) found.push(await s3Rows(settings))
  if (wanted.has('log')) found.push(logRows(settings))
  return found
}
