import { chmodSync, chownSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { initRepository } from '../../../src/repository/open.js'
import { type S3Settings, s3Location } from '../../../src/repository/storage/s3/settings.js'
import type { WalArchive } from '../../../src/repository/wal/types.js'
import { segmentName } from '../../../src/sources/postgres/wal-names.js'
import { forOthers } from '../../helpers/checkout.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { controlBytes, type SegmentWishes, segmentBytes, system } from '../../sources/postgres/segments.js'
import { binary, type Finished, type Running, type RunOptions, startProcess } from './run.js'

export const MIB = 1024 * 1024

/** A data directory as far as archiving sees one, a repository and a configuration: no server. */
export interface WalPlace {
  directory: string
  data: string
  repository: string
  config: string
  archive: WalArchive
  /** Makes segments in pg_wal that the server wants archived. Returns their names. */
  ready(numbers: readonly number[], wishes?: SegmentWishes): string[]
  /** Where a segment is stored. */
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
  /** Another place for the repository. */
  repository?: string
  /** A bucket as repository, and the environment in which it is reached; `unreachable`: it is not made. */
  s3?: { place: S3Settings; env: Record<string, string>; unreachable?: boolean }
}

export async function walPlace({ owner, s3, ...wishes }: WalPlaceWishes = {}): Promise<WalPlace> {
  const directory = temporaryDirectory()
  chmodSync(directory, 0o755)
  const data = join(directory, 'data')
  const repository = s3 === undefined ? (wishes.repository ?? join(directory, 'repository')) : s3Location(s3.place)
  const config = join(directory, 'config.yaml')
  for (const path of ['', 'global', 'pg_wal', 'pg_wal/archive_status']) make(join(data, path))
  writeFileSync(join(data, 'global/pg_control'), controlBytes())
  own(join(data, 'global/pg_control'))
  const ids = owner === undefined ? {} : { owner: String(owner.uid) }
  const where = { path: repository, ...(s3 === undefined ? {} : { s3: s3.place }) }
  const room = s3?.unreachable ? undefined : (await initRepository(where, { now: new Date(), ...ids })).source('main')
  const { bucket, prefix, endpoint } = s3?.place ?? {}
  const written =
    s3 === undefined ? `path: ${repository}` : `s3: { bucket: ${bucket}, prefix: ${prefix}, endpoint: "${endpoint}" }`
  writeFileSync(
    config,
    `repositories: { local: { ${written} } }\nsources: { main: { kind: postgres } }\nstate: ${directory}/nowhere\n`,
  )
  const away = join(directory, 'no-node')
  writeFileSync(away, '#!/bin/sh\nexit 77\n', { mode: 0o755 })
  const start = (words: readonly string[], options: RunOptions = {}) =>
    startProcess(owner === undefined && options.uid === undefined ? binary : forOthers(binary), words, {
      cwd: data,
      ...owner,
      ...options,
      env: { NEXUS_BACKUP_NODE: process.execPath, ...s3?.env, ...options.env },
    })

  function make(path: string): void {
    mkdirSync(path, { mode: 0o700 })
    own(path)
  }

  function own(path: string): void {
    if (owner !== undefined) chownSync(path, owner.uid, owner.gid)
  }

  return {
    directory,
    data,
    repository,
    config,
    get archive() {
      if (room === undefined) throw new Error('there is no repository')
      return room.wal(system)
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
    stored: name => join(repository, 'main/wal', system, name.slice(0, 8), `${name}.zst`),
    start,
    call: (words, options) => start(['--config', config, ...words], options).done,
    archiveSegment: (name, options) => start(['--config', config, 'pitr', 'archive', `pg_wal/${name}`], options).done,
    async withoutNode(words) {
      return (await start(['--config', config, ...words], { env: { NEXUS_BACKUP_NODE: away } }).done).code
    },
  }
}

/** Names in the spool of pg_wal. */
export function spooled({ data }: WalPlace): string[] {
  return readdirSync(join(data, 'pg_wal/.nexus-backup')).sort()
}
