import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { walReader } from '../../../src/operations/sealing/wal-seal-for.js'
import { initRepository } from '../../../src/repository/open.js'
import { type S3Settings, s3Location } from '../../../src/repository/storage/s3/settings.js'
import type { Repository } from '../../../src/repository/types.js'
import type { WalArchive } from '../../../src/repository/wal/types.js'
import { segmentName } from '../../../src/sources/postgres/wal-names.js'
import { forOthers } from '../../helpers/checkout.js'
import { contextWith } from '../../helpers/context.js'
import { inBucket, inYaml, type TestRepository, testRepository } from '../../helpers/repository-kind.js'
import { placeAt } from '../../helpers/stored.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { controlBytes, type SegmentWishes, segmentBytes, system } from '../../sources/postgres/segments.js'
import { binary, type Finished, type Running, type RunOptions, startProcess } from './run.js'

export const MIB = 1024 * 1024

/** A data directory as far as archiving sees one, a repository and a configuration: no server. */
export interface WalPlace extends TestRepository {
  directory: string
  data: string
  config: string
  archive: WalArchive
  /** TMPDIR of every call. */
  temporary: string
  /** Path of what was fetched ahead for a recovering server. */
  aside(...names: string[]): string
  /** Makes segments in pg_wal that the server wants archived. Returns their names. */
  ready(numbers: readonly number[], wishes?: SegmentWishes): string[]
  /** The name under which a segment is stored in the repository. */
  storedName(name: string): string
  /** Where that is, in a directory. */
  stored(name: string): string
  /** Calls the program as PostgreSQL does: by itself, in the data directory. */
  call(words: readonly string[], options?: RunOptions): Promise<Finished>
  start(words: readonly string[], options?: RunOptions): Running
  archiveSegment(name: string, options?: RunOptions): Promise<Finished>
  /** The answer of the program's first lines alone: 0 when a note answers, 77 when Node would be started. */
  withoutNode(words: readonly string[]): Promise<number | null>
}

export interface WalPlaceWishes {
  /** Whose everything is; ours by default. */
  owner?: { uid: number; gid: number }
  /** Another place for the repository, a directory. */
  repository?: string
  /** Made without encryption, whatever the suites run on. */
  plain?: boolean
  /** This bucket, not encrypted, whatever the suites run on. */
  s3?: { place: S3Settings; env: Record<string, string> }
}

export async function walPlace({ owner, plain = false, s3, ...wishes }: WalPlaceWishes = {}): Promise<WalPlace> {
  const directory = temporaryDirectory()
  chmodSync(directory, 0o755)
  const data = join(directory, 'data')
  const wanted = testRepository(join(directory, 'repository'), join(directory, 'key'), owner)
  const keyFile = plain || s3 !== undefined ? undefined : wanted.keyFile
  const repository = s3 === undefined ? (wishes.repository ?? wanted.repository) : s3Location(s3.place)
  const { bucket, prefix, endpoint } = s3?.place ?? {}
  const yaml =
    s3 === undefined
      ? inYaml({ repository, keyFile })
      : `{ s3: { bucket: ${bucket}, prefix: "${prefix}", endpoint: "${endpoint}" } }`
  const config = join(directory, 'config.yaml')
  for (const path of ['', 'global', 'pg_wal', 'pg_wal/archive_status']) make(join(data, path))
  writeFileSync(join(data, 'global/pg_control'), controlBytes())
  own(join(data, 'global/pg_control'))
  const temporary = join(directory, 'tmp')
  make(temporary)
  const ids = owner === undefined || inBucket ? {} : { owner: String(owner.uid) }
  const state = join(directory, keyFile === undefined ? 'nowhere' : 'state')
  // Its key is vouched for when the repository becomes an encrypted one: what it archives is ours.
  if (keyFile !== undefined) make(state)
  const made = await madeRepository({ repository, keyFile }, { ...ids, state })
  writeFileSync(config, `repositories: { local: ${yaml} }\nsources: { main: { kind: postgres } }\nstate: ${state}\n`)
  const away = join(directory, 'no-node')
  writeFileSync(away, '#!/bin/sh\nexit 77\n', { mode: 0o755 })
  const start = (words: readonly string[], options: RunOptions = {}) =>
    startProcess(owner === undefined && options.uid === undefined ? binary : forOthers(binary), words, {
      cwd: data,
      ...owner,
      ...options,
      env: { NEXUS_BACKUP_NODE: process.execPath, TMPDIR: temporary, ...s3?.env, ...options.env },
    })

  function make(path: string): void {
    mkdirSync(path, { mode: 0o700 })
    own(path)
  }

  function own(path: string): void {
    if (owner !== undefined) chownSync(path, owner.uid, owner.gid)
  }

  const storedName = (name: string) =>
    `main/wal/${system}/${name.slice(0, 8)}/${name}.zst${keyFile === undefined ? '' : '.enc'}`

  return {
    directory,
    data,
    repository,
    keyFile,
    config,
    temporary,
    aside: (...names) => join(temporary, `nexus-backup-wal${data.replaceAll('/', '-')}`, ...names),
    get archive() {
      return made.source('main').wal(system, walReader(contextWith(keyFile), made))
    },
    ready(numbers, segment = {}) {
      return numbers.map(number => {
        const name = segmentName(segment.timeline ?? 1, number, segment.segmentBytes ?? MIB)
        const fresh = join(data, 'pg_wal', `.new-${name}`)
        writeFileSync(fresh, segmentBytes(number, { fill: number, ...segment }))
        renameSync(fresh, join(data, 'pg_wal', name))
        own(join(data, 'pg_wal', name))
        writeFileSync(join(data, 'pg_wal/archive_status', `${name}.ready`), '')
        return name
      })
    },
    storedName,
    stored: name => join(repository, storedName(name)),
    start,
    call: (words, options) => start(['--config', config, ...words], options).done,
    archiveSegment: (name, options) => start(['--config', config, 'pitr', 'archive', `pg_wal/${name}`], options).done,
    async withoutNode(words) {
      return (await start(['--config', config, ...words], { env: { NEXUS_BACKUP_NODE: away } }).done).code
    },
  }
}

/**
 * Makes a repository as no `create` would: before there is anything to back up.
 * @param more.state of the host that makes it; another one's when left out, for which nobody vouches then
 */
export async function madeRepository(
  { repository, keyFile }: TestRepository,
  { owner, state }: { owner?: string; state?: string },
): Promise<Repository> {
  const made = await initRepository(placeAt(repository), {
    now: new Date(),
    ...(owner === undefined ? {} : { owner }),
  })
  if (keyFile === undefined) return made
  const words = [
    'keys',
    'add',
    `key-file=${keyFile}`,
    '--repo',
    repository,
    '--state',
    state ?? join(temporaryDirectory(), 'state'),
  ]
  execFileSync(process.execPath, [binary, ...words], { stdio: 'pipe' })
  return made
}

/** Names in the spool of pg_wal. */
export function spooled({ data }: WalPlace): string[] {
  return readdirSync(join(data, 'pg_wal/.nexus-backup')).sort()
}
