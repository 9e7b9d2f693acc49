import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { defaultChainPolicy, type PostgresSourceSettings, type Settings } from '../../../src/config/settings.js'
import type { Context } from '../../../src/context.js'
import { type ArchiveRequest, archiveWal } from '../../../src/operations/wal/archive.js'
import { type FetchRequest, fetchWal } from '../../../src/operations/wal/fetch.js'
import { linesOf, spoolName, type WalCall } from '../../../src/operations/wal/note.js'
import { type WalPlace, walPlace } from '../../end-to-end/helpers/wal-place.js'
import { testContext } from '../../helpers/context.js'

export const now = new Date('2025-12-01T00:00:00Z')

/** A data directory and a repository, and the calls of the server within this process. */
export interface WalCalls extends WalPlace {
  settings: Settings
  context: Context
  /** What the calls have in common that are answered ahead. */
  ahead: WalCall
  archiveFile(name: string, wishes?: Partial<ArchiveRequest>, context?: Context): ReturnType<typeof archiveWal>
  fetchFile(name: string, wishes?: Partial<FetchRequest>, context?: Context): ReturnType<typeof fetchWal>
  /** Path of a file of pg_wal, and its bytes. */
  wal(...names: string[]): string
  plain(name: string): Buffer
  /** Names in the archiver's spool, and of what was fetched ahead; empty where there is none. */
  inSpool(): string[]
  inAside(): string[]
}

export function clusterSource(
  repository: string,
  wishes: Partial<PostgresSourceSettings> = {},
): PostgresSourceSettings {
  return {
    kind: 'postgres',
    name: 'main',
    repository: { name: 'local', path: repository },
    copies: [],
    connection: '',
    dataDirectory: null,
    binDirectory: null,
    checks: [],
    service: null,
    keep: {},
    chain: defaultChainPolicy,
    digestAlgorithm: 'xxh3-128',
    ...wishes,
  }
}

export function settingsOf(sources: Settings['sources'], repositories: Settings['repositories']): Settings {
  return {
    timezone: 'UTC',
    stateDirectory: '/nonexistent',
    repositories,
    copyRepositories: [],
    sources,
    means: [],
    file: null,
  }
}

export async function walCalls(): Promise<WalCalls> {
  const place = await walPlace()
  const { data, repository, config } = place
  const source = clusterSource(repository)
  const settings = settingsOf([source], [source.repository])
  const env = { ...process.env, TMPDIR: place.temporary }
  const context = testContext({ now: () => now, env })
  const ahead = { key: 'the calls of a test', files: linesOf([config]) }
  const wal = (...names: string[]) => join(data, 'pg_wal', ...names)
  return {
    ...place,
    settings,
    context,
    ahead,
    wal,
    archiveFile: (name, wishes = {}, by = context) => {
      const request = { settings, path: `pg_wal/${name}`, cwd: data, source: undefined, ahead, dryRun: false }
      return archiveWal(by, { ...request, ...wishes })
    },
    fetchFile: (name, wishes = {}, by = context) => {
      const path = 'pg_wal/RECOVERYXLOG'
      return fetchWal(by, { settings, name, path, cwd: data, source: undefined, ahead, dryRun: false, ...wishes })
    },
    plain: name => readFileSync(wal(name)),
    inSpool: () => namesIn(wal(spoolName)),
    inAside: () => namesIn(place.aside()),
  }
}

function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).sort() : []
}
