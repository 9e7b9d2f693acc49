import { copyFileSync, cpSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'
import { parseTime } from '../../../src/config/instant.js'
import type { PostgresSourceSettings } from '../../../src/config/settings.js'
import type { Context } from '../../../src/context.js'
import { create } from '../../../src/operations/create.js'
import type { ClusterTarget, RestoreClusterRequest } from '../../../src/operations/pitr/requests.js'
import { planClusterRestore } from '../../../src/operations/pitr/restore-cluster.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { walSealFor } from '../../../src/operations/sealing/wal-seal-for.js'
import { archiveWal } from '../../../src/operations/wal/archive.js'
import { canonicalJson } from '../../../src/repository/json.js'
import type { Manifest } from '../../../src/repository/manifest.js'
import { openRepository } from '../../../src/repository/open.js'
import type { Signer } from '../../../src/repository/sealed/sealed-manifest.js'
import { SOURCE } from '../../end-to-end/helpers/cluster.js'
import { startCluster } from '../../helpers/postgres.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { archiving, backedUpCluster } from '../clusters.js'
import { accessWith, keyFile, requestFor } from '../sealing/encrypted.js'
import { settingsOf } from '../wal/calls.js'
import { segmentContent } from '../wal-shelf.js'
import { overwrite } from './bench.js'

/** A full and an increment of a cluster, with log after each. */
interface Scene {
  source: PostgresSourceSettings
  context: Context
  /** Somebody with this very program, a state directory of his own, and no key. */
  thief: Context
  /** A backup and the segment after the last one, which the thief has made of the same cluster: paths elsewhere. */
  forged: { backup: string; segment: string; keys: string }
  system: string
  full: string
  incr: string
  /** Paths of archived segments: the one between the backups, and the two after the second one. */
  between: string
  after: string
  last: string
  targets: Record<string, ClusterTarget>
  request: (wishes: Partial<RestoreClusterRequest>) => RestoreClusterRequest
  /** Transactions by their numbers. */
  commits: Map<string, string>
}

const HISTORY = '00000002.history'

async function scene(): Promise<Scene> {
  const cluster = await startCluster({ lean: true, settings: { ...archiving, autovacuum: 'off' } })
  const at = backedUpCluster(cluster)
  const key = keyFile()
  const repository = { ...at.source.repository, encryption: { recipients: [key], maxKeyAge: 90 * 86_400_000 } }
  const source = { ...at.source, repository }
  const context = { ...at.context, keys: accessWith(key) }
  const thief = { ...context, keys: accessWith(), stateDirectory: join(temporaryDirectory(), 'state') }
  const away = { ...source, repository: { ...repository, path: join(temporaryDirectory(), 'away') } }
  const backUp = async (type: 'full' | 'incr', by = context, of = source) => {
    const { backups, failures } = await create(by, at.journal, requestFor(of, { type, init: by === context }))
    expect(failures).toEqual([])
    return backups[0]?.id ?? ''
  }
  const commits = new Map<string, string>()
  const commit = async (name: string): Promise<ClusterTarget> => {
    commits.set(await cluster.psql(`INSERT INTO notes VALUES ('${name}') RETURNING pg_current_xact_id()`), name)
    const clock = `to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`
    const time = parseTime(await cluster.psql(`SELECT ${clock} FROM pg_sleep(0.01)`), 'UTC')
    await cluster.psql('SELECT pg_sleep(0.01)')
    if (typeof time === 'string') throw new Error(time)
    return { kind: 'time', at: time, before: false }
  }
  const archived = new Set<string>()
  /** Archives what is new, and returns the path of the last segment. */
  const archive = async (by = context, of = source): Promise<string> => {
    await cluster.psql('SELECT pg_switch_wal()')
    const cwd = cluster.directory
    const settings = settingsOf([of], [of.repository])
    const ready = readdirSync(join(cwd, 'pg_wal/archive_status')).filter(name => name.endsWith('.ready'))
    const names = ready.map(name => name.slice(0, -'.ready'.length)).filter(name => !archived.has(name))
    for (const name of names.sort()) {
      await archiveWal(by, { settings, path: `pg_wal/${name}`, cwd, source: SOURCE, ahead: null, dryRun: false })
      archived.add(name)
    }
    const name = names.findLast(one => one.length === 24)
    return join(of.repository.path, SOURCE, 'wal', system, '00000001', `${name}.zst.enc`)
  }
  const system = await cluster.psql('SELECT system_identifier FROM pg_control_system()')
  await cluster.psql('CREATE TABLE notes (text TEXT)')
  const full = await backUp('full')
  const one = await commit('one')
  const between = await archive()
  const incr = await backUp('incr')
  const two = await commit('two')
  const after = await archive()
  await commit('three')
  const last = await archive()
  cpSync(source.repository.path, away.repository.path, { recursive: true })
  await commit('forged')
  const segment = await archive(thief, away)
  const backup = join(away.repository.path, SOURCE, await backUp('full', thief, away))
  await cluster.stop()
  const targets = { one, two, end: { kind: 'end' as const }, base: { kind: 'base' as const } }
  const request: Scene['request'] = more => at.request({ start: null, ...more })
  const known = { source, context, thief, system, full, incr, between, after, last, targets, request, commits }
  return { ...known, forged: { backup, segment, keys: join(away.repository.path, 'keys') } }
}

const directoryOf = ({ source }: Scene, id: string) => join(source.repository.path, SOURCE, id)

/** Signs a manifest anew, as somebody can who has no key. */
function signedBy({ id, sign }: Signer) {
  return (manifest: Record<string, unknown>) => {
    const { signature: _, ...rest } = (manifest as unknown as Manifest).encryption ?? {}
    const encryption = { ...rest, signer: id }
    const text = `nexus-backup 1 manifest signature ${canonicalJson({ ...manifest, encryption })}`
    return { ...manifest, encryption: { ...encryption, signature: sign(text).toString('base64') } }
  }
}

/** Puts a file into the archive in plain, or signed and sealed by somebody. */
async function put({ source, system }: Scene, by: Context | null, name: string, bytes: Buffer): Promise<void> {
  const repository = await openRepository(source.repository)
  const seal = by === null ? undefined : await walSealFor(by, repository, source.repository.encryption)
  const at = new Date()
  await repository.source(SOURCE).wal(system, seal).put(name, bytes, { closedAt: at, now: at })
}

const nameOf = (path: string) => path.slice(path.lastIndexOf('/') + 1, -'.zst.enc'.length)

/** A history that leaves the timeline before everything that was committed, and a segment of the new one. */
async function putTimeline(at: Scene, by: Context | null): Promise<void> {
  const number = Number.parseInt(nameOf(at.between).slice(16), 16)
  await put(at, by, HISTORY, Buffer.from(`1\t0/${(number * 2 ** 20).toString(16)}00\tforged\n`))
  for (const next of [number, number + 1]) {
    const name = `00000002${'0'.repeat(8)}${next.toString(16).toUpperCase().padStart(8, '0')}`
    await put(at, by, name, segmentContent(next, 2, at.system))
  }
}

/** The same as the host that archives has it, but for the history, which becomes what `spoil` makes of it. */
async function spoilTimeline(at: Scene, spoil: (path: string) => unknown): Promise<void> {
  await putTimeline(at, at.context)
  await spoil(pathOfHistory(at))
}

const pathOfHistory = ({ last }: Scene) => join(dirname(dirname(last)), '00000002', `${HISTORY}.zst`)

function putGarbage(path: string): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, 'garbage')
}

/** As nexus-backup-repository(5) tells under SECURITY. */
const deeds: Readonly<Record<string, (at: Scene) => Promise<unknown> | unknown>> = {
  'only read': () => {},
  'add a base': at => {
    cpSync(at.forged.keys, join(at.source.repository.path, 'keys'), { recursive: true })
    cpSync(at.forged.backup, directoryOf(at, nameIn(at.forged.backup)), { recursive: true })
  },
  'add a base of a host that is not registered': at =>
    cpSync(at.forged.backup, directoryOf(at, nameIn(at.forged.backup)), { recursive: true }),
  'add a base on ours': async at => {
    const id = `${at.incr.slice(0, -4)}ffff`
    cpSync(directoryOf(at, at.incr), directoryOf(at, id), { recursive: true })
    const sign = signedBy(await hostSigner(at.thief))
    overwrite(directoryOf(at, id), manifest => sign({ ...manifest, id, sequence: 99, parent: at.incr }))
  },
  'put a base under ours': async at => {
    rmSync(directoryOf(at, at.full), { recursive: true })
    cpSync(at.forged.backup, directoryOf(at, at.full), { recursive: true })
    const sign = signedBy(await hostSigner(at.thief))
    overwrite(directoryOf(at, at.full), manifest => sign({ ...manifest, id: at.full, sequence: 1 }))
  },
  'delete the newest base': at => rmSync(directoryOf(at, at.incr), { recursive: true }),
  'delete the oldest base': at => rmSync(directoryOf(at, at.full), { recursive: true }),
  'delete a segment between the bases': at => rmSync(at.between),
  'delete a segment after them': at => rmSync(at.after),
  'delete the last segment': at => rmSync(at.last),
  'delete all that follows': at => {
    for (const path of [at.after, at.last]) rmSync(path)
  },
  'exchange a segment for an earlier one': at => copyFileSync(at.between, at.after),
  'exchange two segments': at => {
    renameSync(at.after, `${at.after}~`)
    renameSync(at.last, at.after)
    renameSync(`${at.after}~`, at.last)
  },
  'put plain in the place of a segment': async at => {
    const number = Number.parseInt(nameOf(at.after).slice(16), 16)
    rmSync(at.after)
    await put(at, null, nameOf(at.after), segmentContent(number, 1, at.system))
  },
  'add a segment': at => copyFileSync(at.forged.segment, join(dirname(at.last), nameIn(at.forged.segment))),
  'add a segment in plain': async at => {
    const number = Number.parseInt(nameOf(at.forged.segment).slice(16), 16)
    await put(at, null, nameOf(at.forged.segment), segmentContent(number, 1, at.system))
  },
  'add a timeline': at => putTimeline(at, at.thief),
  'add a timeline in plain': at => putTimeline(at, null),
  'add the history of a timeline': at => put(at, at.thief, HISTORY, Buffer.from('1\t0/300000\tforged\n')),
  'add a history that is none': at => putGarbage(pathOfHistory(at)),
  'add a segment that is none': at =>
    putGarbage(join(dirname(dirname(at.last)), '00000002', `${'00000002'.padEnd(23, '0')}1.zst`)),
  'damage a history': at => spoilTimeline(at, putGarbage),
  'exchange a history': at =>
    spoilTimeline(at, async path => {
      rmSync(path)
      await put(at, at.thief, HISTORY, Buffer.from('1\t0/300000\tforged\n'))
    }),
}

const nameIn = (path: string) => path.slice(path.lastIndexOf('/') + 1)

/** The base, the last commit that is replayed, and all that is said; or the code of what was thrown. */
async function planned(at: Scene, by: Context, target: ClusterTarget): Promise<string> {
  const said: string[] = []
  const context = { ...by, warn: (message: string) => void said.push(message) }
  const { source } = at
  try {
    const { id, last_commit, notes } = await planClusterRestore(
      context,
      at.request({ target, source, repositories: [source.repository] }),
    )
    const base = id === at.full ? 'full' : id === at.incr ? 'incr' : 'forged'
    const commit = last_commit === null ? '' : `, ${at.commits.get(last_commit.xid) ?? 'another'}`
    return [`${base}${commit}`, ...inShort([...said, ...notes])].join('; ')
  } catch (error) {
    return (error as { code: string }).code
  }
}

function inShort(said: readonly string[]): string[] {
  const words: [string, RegExp][] = [
    ['passed over', /not ours (is|are) passed over/],
    ['gone', /which this host remembers, is gone$/],
    ['gap', /^segment \w+ is missing: what was archived after it cannot be reached from here$/],
    ['nothing between', /no transaction ended between .* this is the state of both$/],
    ['no timeline', /no segment of timeline 2 can be used/],
    ['history lost', /\.history\.zst is (not ours|damaged)/],
  ]
  return said.map(text => words.find(([, pattern]) => pattern.test(text))?.[0] ?? text)
}

/** Which backup is laid down, the last commit that is replayed, and what is said: where it was made | elsewhere. */
const TABLE: Record<string, Record<string, string>> = {
  'only read': { one: 'full, one', two: 'incr, two', end: 'incr, three', base: 'incr' },
  'add a base': {
    one: 'full, one; passed over',
    two: 'incr, two; passed over',
    end: 'incr, three; passed over',
    base: 'incr; passed over',
  },
  'add a base of a host that is not registered': {
    one: 'full, one; passed over',
    two: 'incr, two; passed over',
    end: 'incr, three; passed over',
    base: 'manifest_forged',
  },
  'add a base on ours': {
    one: 'full, one; passed over',
    two: 'incr, two; passed over',
    end: 'incr, three; passed over',
    base: 'incr; passed over',
  },
  'put a base under ours': {
    one: 'backup_damaged',
    two: 'backup_damaged',
    end: 'backup_damaged',
    base: 'backup_damaged',
  },
  'delete the newest base': {
    one: 'full, one; gone',
    two: 'full, two; gone',
    end: 'full, three; gone | full, three',
    base: 'backup_damaged | full',
  },
  'delete the oldest base': {
    one: 'backup_damaged',
    two: 'backup_damaged',
    end: 'backup_damaged',
    base: 'backup_damaged',
  },
  'delete a segment between the bases': { one: 'wal_missing', two: 'incr, two', end: 'incr, three', base: 'incr' },
  'delete a segment after them': {
    one: 'full, one; nothing between',
    two: 'wal_missing',
    end: 'incr; gap',
    base: 'incr',
  },
  // Nothing tells that there was more, until the server archives the next one.
  'delete the last segment': { one: 'full, one', two: 'incr, two; nothing between', end: 'incr, two', base: 'incr' },
  'delete all that follows': { one: 'full, one; nothing between', two: 'target_too_late', end: 'incr', base: 'incr' },
  'exchange a segment for an earlier one': { one: 'wal_damaged', two: 'wal_damaged', end: 'wal_damaged', base: 'incr' },
  'exchange two segments': { one: 'wal_damaged', two: 'wal_damaged', end: 'wal_damaged', base: 'incr' },
  'put plain in the place of a segment': {
    one: 'wal_untrusted',
    two: 'wal_untrusted',
    end: 'wal_untrusted',
    base: 'incr',
  },
  'add a segment': { one: 'wal_untrusted', two: 'wal_untrusted', end: 'wal_untrusted', base: 'incr' },
  'add a segment in plain': { one: 'wal_untrusted', two: 'wal_untrusted', end: 'wal_untrusted', base: 'incr' },
  'add a timeline': {
    one: 'full, one; history lost; no timeline',
    two: 'incr, two; history lost; no timeline',
    end: 'incr, three; history lost; no timeline',
    base: 'incr',
  },
  'add a timeline in plain': {
    one: 'full, one; history lost; no timeline',
    two: 'incr, two; history lost; no timeline',
    end: 'incr, three; history lost; no timeline',
    base: 'incr',
  },
  'add the history of a timeline': {
    one: 'full, one; history lost',
    two: 'incr, two; history lost',
    end: 'incr, three; history lost',
    base: 'incr',
  },
  'add a history that is none': {
    one: 'full, one; history lost',
    two: 'incr, two; history lost',
    end: 'incr, three; history lost',
    base: 'incr',
  },
  'add a segment that is none': {
    one: 'full, one; no timeline',
    two: 'incr, two; no timeline',
    end: 'incr, three; no timeline',
    base: 'incr',
  },
  'damage a history': { one: 'wal_damaged', two: 'wal_damaged', end: 'wal_damaged', base: 'incr' },
  'exchange a history': { one: 'wal_untrusted', two: 'wal_untrusted', end: 'wal_untrusted', base: 'incr' },
}

it('no recovery leads to what somebody forged, and none is shortened without a word', async () => {
  const at = await scene()
  const places = { repository: at.source.repository.path, state: at.context.stateDirectory }
  const saved = temporaryDirectory()
  for (const [name, path] of Object.entries(places)) cpSync(path, join(saved, name), { recursive: true })
  const found: Record<string, Record<string, string>> = {}
  for (const [what, deed] of Object.entries(deeds)) {
    for (const [name, path] of Object.entries(places)) {
      rmSync(path, { recursive: true })
      cpSync(join(saved, name), path, { recursive: true })
    }
    await deed(at)
    const bare = { ...at.context, stateDirectory: join(temporaryDirectory(), 'bare') }
    for (const [name, target] of Object.entries(at.targets)) {
      const here = await planned(at, at.context, target)
      const elsewhere = name === 'end' || name === 'base' ? await planned(at, bare, target) : here
      found[what] = { ...found[what], [name]: elsewhere === here ? here : `${here} | ${elsewhere}` }
    }
  }
  expect(found).toEqual(TABLE)
})
