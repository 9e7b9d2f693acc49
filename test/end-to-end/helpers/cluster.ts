import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { onTestFinished } from 'vitest'
import type { TestCluster } from '../../helpers/postgres.js'
import { inYaml, type TestRepository, testRepository } from '../../helpers/repository-kind.js'
import { idsIn, storedIn } from '../../helpers/stored.js'
import { type Finished, type Running, type RunOptions, run, start } from './run.js'

// biome-ignore lint/suspicious/noExplicitAny: whatever a command printed; the tests say what it must be
type Printed = any

/** The name of the source in every configuration that is written here. */
export const SOURCE = 'crm'

/** A cluster under backup, with a repository, a state directory and a configuration of its own. */
export interface ClusterPlace extends TestRepository {
  cluster: TestCluster
  /** Below the cluster's room: removed with it, and open to the server's user. */
  directory: string
  state: string
  config: string
  run(command: string, args?: readonly string[], options?: RunOptions): Promise<Finished>
  start(command: string, args?: readonly string[], options?: RunOptions): Running
  /** Runs with `--json` and returns the exit status and the documents. */
  json(
    command: string,
    args?: readonly string[],
    options?: RunOptions,
  ): Promise<{ code: number | null; document: Printed; error: Printed }>
  /** Runs and fails the test unless it ends with 0. */
  ok(command: string, args?: readonly string[], options?: RunOptions): Promise<Finished>
  /** Takes a backup and returns it as `create` printed it. */
  backUp(type: string, args?: readonly string[], options?: RunOptions): Promise<Printed>
}

/** What is backed up, when it is not the cluster as its superuser. */
export interface PlaceOptions {
  connection?: string
  /** Further lines of the source's configuration. */
  more?: readonly string[]
  /** Use the repository and the state directory of another place. */
  beside?: ClusterPlace
  /** This bucket, whatever the suites run on: as a configuration has it, as `--repo` takes it, what programs need. */
  s3?: { yaml: string; url: string; env: Record<string, string> }
}

let places = 0

/** A fresh place for backups of a cluster. */
export function clusterPlace(cluster: TestCluster, options: PlaceOptions = {}): ClusterPlace {
  const directory = join(cluster.room, `place-${places++}`)
  mkdirSync(directory)
  chmodSync(directory, 0o755)
  const { s3 } = options
  const fresh = () =>
    s3 === undefined
      ? // One key for all places of a cluster: some hold copies of each other's repository.
        testRepository(join(directory, 'repository'), join(cluster.room, 'key'), cluster)
      : { repository: s3.url, keyFile: undefined }
  const { repository, keyFile, state } = options.beside ?? { ...fresh(), state: join(directory, 'state') }
  const config = join(directory, 'config.yaml')
  const lines = [
    'timezone: UTC',
    `state: ${state}`,
    `repositories: { local: ${s3?.yaml ?? inYaml({ repository, keyFile })} }`,
    'sources:',
    `  ${SOURCE}:`,
    '    kind: postgres',
    `    connection: ${JSON.stringify(options.connection ?? cluster.connection)}`,
    ...(options.more ?? []).map(line => `    ${line}`),
  ]
  writeFileSync(config, `${lines.join('\n')}\n`)
  const all = (command: string, args: readonly string[]) => [...command.split(' '), ...args, '--config', config]
  const withStore = (settings: RunOptions): RunOptions =>
    s3 === undefined ? settings : { ...settings, env: { ...s3.env, ...settings.env } }
  const ended = async (command: string, args: readonly string[] = [], settings: RunOptions = {}) =>
    run(all(command, args), withStore(settings))
  const place: ClusterPlace = {
    cluster,
    directory,
    repository,
    keyFile,
    state,
    config,
    run: ended,
    start: (command, args = [], settings = {}) => start(all(command, args), withStore(settings)),
    async json(command, args = [], settings = {}) {
      const { code, stdout, stderr } = await ended(command, [...args, '--json'], settings)
      return {
        code,
        document: stdout === '' ? undefined : JSON.parse(stdout),
        error: stderr === '' ? undefined : JSON.parse(stderr.trim().split('\n').at(-1) ?? ''),
      }
    },
    async ok(command, args = [], settings = {}) {
      const result = await ended(command, args, settings)
      if (result.code !== 0) throw new Error(`${command} ended with ${result.code}: ${result.stderr}${result.stdout}`)
      return result
    },
    async backUp(type, args = [], settings = {}) {
      const { stdout } = await place.ok('create', [SOURCE, '--init', '--type', type, ...args, '--json'], settings)
      const [backup] = JSON.parse(stdout).backups
      if (backup.type !== type) throw new Error(`a ${type} became a ${backup.type}`)
      return backup
    },
  }
  return place
}

/** Ids of the committed backups, oldest first. */
export function backupsIn({ repository }: ClusterPlace): string[] {
  return idsIn(repository, SOURCE)
}

/** What a backup's manifest says. */
export function manifestOf({ repository }: ClusterPlace, id: string): Printed {
  return JSON.parse(storedIn(repository).read(`${SOURCE}/${id}/manifest.json`).toString())
}

/** Recovers a backup with what lies in the repository alone, and returns where. */
export function recovered({ repository, keyFile, directory }: ClusterPlace, id: string): string {
  const output = join(directory, `recovered-${id}`)
  const here = storedIn(repository).asDirectory()
  const key = keyFile === undefined ? [] : ['--key-file', keyFile]
  execFileSync(process.execPath, [join(here, 'recover.mjs'), join(here, SOURCE, id), output, ...key], { stdio: 'pipe' })
  return output
}

/** The flag that lets the server's user into a repository and a state directory that root makes. */
export function ownedBy({ user }: TestCluster): string[] {
  return process.getuid?.() === 0 ? ['--owner', user] : []
}

/** Every row of every table of every database, large objects, and who and what there is: as one digest for each. */
export async function contentOf(cluster: TestCluster): Promise<Record<string, string>> {
  const content: Record<string, string> = { cluster: await cluster.psql(GLOBALS) }
  for (const database of (await cluster.psql(DATABASES)).split('\n')) {
    for (const line of (await cluster.psql(TABLES, database)).split('\n').filter(line => line !== '')) {
      const [table = '', digest = ''] = line.split('|')
      content[`${database}: ${table}`] = digest
    }
  }
  return content
}

const DATABASES = 'SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1'

const GLOBALS = `SELECT json_build_object(
  'databases', (SELECT json_agg(datname ORDER BY datname) FROM pg_database),
  'roles', (SELECT json_agg(rolname ORDER BY rolname) FROM pg_roles),
  'tablespaces', (SELECT json_agg(spcname ORDER BY spcname) FROM pg_tablespace))`

// A query for each table, run by the server itself. Unlogged ones are empty in any copy.
const TABLES = `
  SELECT c.oid::regclass, (xpath('/row/x/text()', query_to_xml(format(
    'SELECT count(*) || '':'' || md5(coalesce(string_agg(t::text, E''\\n'' ORDER BY t::text COLLATE "C"), '''')) AS x FROM %s t',
    c.oid::regclass), false, true, '')))[1]
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
  WHERE relkind IN ('r', 'm') AND relpersistence = 'p' AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  UNION ALL
  SELECT 0, (SELECT to_json(count(*) || ':' || md5(coalesce(string_agg(oid || md5(lo_get(oid)), ',' ORDER BY oid), '')))::text
    FROM pg_largeobject_metadata)::xml
  ORDER BY 1`

/** Transactions without end, until the test ends or `stop` is called. Every history row has a number. */
export async function load(cluster: TestCluster, rate = 150): Promise<{ stop(): Promise<void> }> {
  const args = ['-n', '-h', cluster.room, '-U', 'postgres', '-c', '2', '-R', String(rate), '-T', '600', 'postgres']
  const child = execa(join(cluster.bin, 'pgbench'), args, { reject: false, env: { LC_ALL: 'C' } })
  let stopped = false
  const stop = async () => {
    if (stopped) return
    stopped = true
    child.kill('SIGKILL')
    await child
    await eventually(cluster, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'", '0')
  }
  onTestFinished(stop)
  await eventually(cluster, 'SELECT count(*) > 20 FROM pgbench_history', 't')
  return { stop }
}

/** pgbench's tables, with a number for each row of the history. */
export async function fill(cluster: TestCluster, scale: number): Promise<void> {
  await cluster.run('pgbench', ['-i', '-q', '-s', String(scale), '-h', cluster.room, '-U', 'postgres', 'postgres'])
  await cluster.psql('ALTER TABLE pgbench_history ADD COLUMN number bigserial PRIMARY KEY')
}

/** What pgbench wrote down of each transaction. */
export async function historyOf(cluster: TestCluster): Promise<string[]> {
  const text = await cluster.psql('SELECT number, tid, bid, aid, delta, mtime FROM pgbench_history ORDER BY number')
  return text.split('\n').filter(line => line !== '')
}

/** How many rows contradict the history: each balance is the sum of what was done to it, at every single instant. */
export async function contradictions(cluster: TestCluster): Promise<string> {
  const broken = (table: string, key: string, balance: string) =>
    `(SELECT count(*) FROM ${table} LEFT JOIN (SELECT ${key}, sum(delta) AS sum FROM pgbench_history GROUP BY 1) h
      USING (${key}) WHERE ${balance} <> coalesce(sum, 0))`
  return cluster.psql(
    `SELECT ${broken('pgbench_accounts', 'aid', 'abalance')} + ${broken('pgbench_tellers', 'tid', 'tbalance')}
      + ${broken('pgbench_branches', 'bid', 'bbalance')}`,
  )
}

/** What a SQL query must come to, asked again until it does. */
export async function eventually(cluster: TestCluster, sql: string, wanted: string): Promise<void> {
  await becomes(sql, () => cluster.psql(sql), wanted)
}

/** Asks until the answer is the wanted one; fails after a minute and a half. */
export async function becomes(what: string, ask: () => Promise<string>, wanted: string): Promise<void> {
  const deadline = Date.now() + 90_000
  for (;;) {
    const answer = await ask()
    if (answer === wanted) return
    if (Date.now() > deadline) throw new Error(`${what} is ${answer}, not ${wanted}`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

/** Command lines of the programs that work for backups of this cluster. */
export function helpersOf(cluster: TestCluster): string[] {
  const found: string[] = []
  for (const pid of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      const isOurs = words.some(word => word.includes(cluster.room))
      const program = words.find(word => /\/(pg_basebackup|psql)$/.test(word))
      if (isOurs && program !== undefined) found.push(`${pid} ${words.join(' ')}`)
    } catch {
      // It is gone meanwhile.
    }
  }
  return found
}

/** Blocks of a tree, and their bytes, that another tree does not have at the same place of the same file. */
export function changedBlocks(tree: string, before: string, blockSize = 8192): Buffer[] {
  const changed: Buffer[] = []
  for (const name of filesBelow(tree)) {
    const bytes = readFileSync(join(tree, name))
    const old = existsSync(join(before, name)) ? readFileSync(join(before, name)) : Buffer.alloc(0)
    for (let at = 0; at < bytes.length; at += blockSize) {
      const block = bytes.subarray(at, at + blockSize)
      if (!block.equals(old.subarray(at, at + blockSize))) changed.push(block)
    }
  }
  return changed
}

/** Names of the files below a directory, sorted. */
export function filesBelow(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true })
  return entries
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort()
}
