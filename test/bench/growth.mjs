// How time, memory and reads grow with the number of backups, of files and of members of a chain.
//
//   npm run bench -- growth [--backups 50,500,5000] [--files 10000,100000] [--chain 1,30,100] [--json FILE]
//
// Every row is one run of the program on files of 100 bytes; a chain's increments each change one of them. A million
// files want some gigabytes below TMPDIR, and as many inodes.
import { execFileSync, spawnSync } from 'node:child_process'
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { makeHistory } from './growth-history.mjs'

const program = fileURLToPath(new URL('../../bin/nexus-backup', import.meta.url))
const counter = new URL('growth-count.mjs', import.meta.url).href
const FILES_OF_DIRECTORY = 1000
const numbers = text =>
  text
    .split(',')
    .map(Number)
    .filter(number => number > 0)

/** Runs the whole and prints its table. @param {string[]} args */
export function growth(args) {
  const { values } = parseArgs({
    args,
    options: {
      backups: { type: 'string', default: '50,500,5000' },
      files: { type: 'string', default: '10000,100000' },
      chain: { type: 'string', default: '1,30,100' },
      json: { type: 'string' },
    },
  })
  const scratch = mkdtempSync(join(tmpdir(), 'nexus-backup-growth-'))
  process.once('exit', () => rmSync(scratch, { recursive: true, force: true }))
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1))
  const rows = []
  const add = row => {
    rows.push(row)
    process.stdout.write(`${lineOf(row)}\n`)
  }
  process.stdout.write(`${head}\n`)
  for (const backups of numbers(values.backups)) historyRows(scratch, backups, add)
  for (const files of numbers(values.files)) treeRows(scratch, files, numbers(values.chain), add)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(rows, null, 2)}\n`)
}

/** A place with files to back up, and a repository of them. */
class Place {
  constructor(scratch, files) {
    this.scratch = join(scratch, `files-${files}`)
    this.source = join(this.scratch, 'source')
    this.repository = join(this.scratch, 'repository')
    mkdirSync(this.source, { recursive: true })
    for (let file = 0; file < files; file += 1) {
      const directory = join(this.source, `directory-${Math.floor(file / FILES_OF_DIRECTORY)}`)
      if (file % FILES_OF_DIRECTORY === 0) mkdirSync(directory, { recursive: true })
      writeFileSync(join(directory, `attachment-${file}.txt`), `file ${file} `.padEnd(100, '.'))
    }
    const configuration = { repositories: { local: { path: this.repository } } }
    const sources = { uploads: { kind: 'files', paths: [this.source] } }
    this.config = join(this.scratch, 'config.yaml')
    writeFileSync(this.config, JSON.stringify({ state: join(this.scratch, 'state'), ...configuration, sources }))
  }

  change() {
    appendFileSync(join(this.source, 'directory-0', 'attachment-0.txt'), 'changed')
  }

  /** A full, and two increments that change the same file. */
  begin() {
    this.run('create', '--init')
    for (let time = 0; time < 2; time += 1) {
      this.change()
      this.run('create')
    }
  }

  /** @param {{ backups: number, chain: number }} wanted as of `makeHistory` */
  history(wanted) {
    makeHistory(join(this.repository, 'uploads'), wanted)
  }

  run(...words) {
    const result = join(this.scratch, 'result.json')
    const env = {
      ...process.env,
      GROWTH_REPOSITORY: this.repository,
      GROWTH_SOURCE: this.source,
      GROWTH_RESULT: result,
    }
    const began = performance.now()
    const { status, stderr } = spawnSync('node', ['--import', counter, program, ...words, '--config', this.config], {
      env,
      encoding: 'utf8',
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const seconds = (performance.now() - began) / 1000
    if (status !== 0) throw new Error(`${words.join(' ')} ended with ${status}: ${stderr}`)
    return { seconds, ...JSON.parse(readFileSync(result, 'utf8')) }
  }

  restore() {
    const target = join(this.scratch, 'restored')
    const measured = this.run('restore', 'uploads', '--to', target, '--yes')
    rmSync(target, { recursive: true })
    return measured
  }

  remove() {
    rmSync(this.scratch, { recursive: true })
  }
}

function historyRows(scratch, backups, add) {
  const place = new Place(scratch, 10)
  place.begin()
  place.history({ backups, chain: 25 })
  const what = { backups, files: 10, chain: ((backups - 1) % 25) + 1 }
  // The first run reads every manifest; the others only what changed since.
  add({ work: 'list, first', ...what, ...place.run('list') })
  add({ work: 'list', ...what, ...place.run('list') })
  add({ work: 'restore', ...what, ...place.restore() })
  add({ work: 'prune --dry-run', ...what, ...place.run('prune', '--dry-run', '--keep-last', String(backups)) })
  place.change()
  add({ work: 'create', ...what, ...place.run('create') })
  place.remove()
}

function treeRows(scratch, files, chains, add) {
  const place = new Place(scratch, files)
  add({ work: 'create full', backups: 0, files, chain: 1, ...place.run('create', '--init') })
  place.change()
  add({ work: 'create incr', backups: 1, files, chain: 2, ...place.run('create') })
  place.change()
  place.run('create')
  for (const chain of chains) {
    const room = new Place(join(scratch, `chain-${chain}`), 0)
    execFileSync('cp', ['-al', place.repository, room.repository])
    room.history({ backups: chain, chain })
    const what = { backups: chain, files, chain }
    add({ work: 'restore', ...what, ...room.restore() })
    add({ work: 'verify', ...what, ...room.run('verify') })
    room.remove()
  }
  place.remove()
}

const columns = [
  'backups',
  'files',
  'chain',
  'seconds',
  'cpu',
  'peak_mb',
  'manifests',
  'lists',
  'indexes',
  'summaries',
  'other',
  'directories',
]
const head = `${'work'.padEnd(16)}${columns.map(name => name.padStart(12)).join('')}`

function lineOf(row) {
  const cells = columns.map(name => String(Number.isInteger(row[name]) ? row[name] : row[name].toFixed(2)).padStart(12))
  return `${row.work.padEnd(16)}${cells.join('')}`
}
