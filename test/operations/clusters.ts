import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { PostgresSourceSettings } from '../../src/config/settings.js'
import type { Context } from '../../src/context.js'
import { create } from '../../src/operations/create.js'
import type { RestoreClusterRequest } from '../../src/operations/pitr/requests.js'
import { restoreCluster } from '../../src/operations/pitr/restore-cluster.js'
import type { RecoveryCalls } from '../../src/operations/requests.js'
import type { BackupReport } from '../../src/operations/results.js'
import { archiveWal } from '../../src/operations/wal/archive.js'
import type { BackupType } from '../../src/repository/manifest.js'
import { type ClusterPlace, clusterPlace, SOURCE } from '../end-to-end/helpers/cluster.js'
import { binary } from '../end-to-end/helpers/run.js'
import { testContext } from '../helpers/context.js'
import type { TestCluster } from '../helpers/postgres.js'
import { listeningJournal } from './application.js'
import { clusterSource, settingsOf } from './wal/calls.js'

/** A cluster under backup within this process. Only its restored copies call the program itself, to fetch WAL. */
export interface BackedUpCluster extends Pick<ClusterPlace, 'directory' | 'repository' | 'config'> {
  source: PostgresSourceSettings
  context: Context
  journal: ReturnType<typeof listeningJournal>
  warnings: string[]
  /** How a restored copy calls the program. */
  recovery: RecoveryCalls
  backUp(type: BackupType, wishes?: { allowDamaged?: boolean }): Promise<BackupReport>
  /** Ends the current segment and archives whatever is ready. */
  archive(): Promise<void>
  /** A new path to restore to. */
  target(): string
  request(wishes: Partial<RestoreClusterRequest>): RestoreClusterRequest
  restore(wishes: Partial<RestoreClusterRequest>): ReturnType<typeof restoreCluster>
}

/** Nothing is archived but by `archive`: the server itself only says what is ready. */
export const archiving = { archive_mode: 'on', archive_command: '' }

export function backedUpCluster(
  cluster: TestCluster,
  wishes: Partial<PostgresSourceSettings> & { more?: readonly string[] } = {},
): BackedUpCluster {
  const { more = [], ...changes } = wishes
  const place = clusterPlace(cluster, { more })
  const { repository, config } = place
  const warnings: string[] = []
  const context = testContext({
    now: () => new Date(),
    stateDirectory: place.state,
    warn: message => void warnings.push(message),
  })
  const journal = listeningJournal()
  const source = clusterSource(repository, { name: SOURCE, connection: cluster.connection, ...changes })
  const recovery = { program: [process.execPath, binary], flags: ['--config', config] }
  let targets = 0
  const target = () => join(place.directory, `copy-${targets++}`)
  const request: BackedUpCluster['request'] = more => ({
    command: 'pitr restore',
    repositories: [source.repository],
    backup: SOURCE,
    target: { kind: 'end' },
    timeline: 'latest',
    to: target(),
    tablespaceMap: [],
    targetAction: 'promote',
    keepArchiving: false,
    start: { stop: true },
    source,
    ...recovery,
    dryRun: false,
    ...more,
  })
  return {
    directory: place.directory,
    repository,
    config,
    source,
    context,
    journal,
    warnings,
    recovery,
    async backUp(type, { allowDamaged = false } = {}) {
      const { backups, failures } = await create(context, journal, {
        sources: [source],
        type,
        check: undefined,
        verify: false,
        allowDamaged,
        init: !existsSync(repository),
        // The restored server reads it as its own user.
        owner: existsSync(repository) || process.getuid?.() !== 0 ? undefined : cluster.user,
        adopt: false,
        label: null,
        keepUntil: null,
        dryRun: false,
      })
      const [backup] = backups
      if (backup?.type !== type) throw new Error(`no ${type}: ${JSON.stringify(failures)}`)
      return backup
    },
    async archive() {
      await cluster.psql('SELECT pg_switch_wal()')
      const cwd = cluster.directory
      const settings = settingsOf([source], [source.repository])
      const status = join(cwd, 'pg_wal/archive_status')
      for (const name of readdirSync(status).filter(file => file.endsWith('.ready'))) {
        const path = `pg_wal/${name.slice(0, -'.ready'.length)}`
        await archiveWal(context, { settings, path, cwd, source: SOURCE, ahead: null, dryRun: false })
      }
    },
    target,
    request,
    restore: more => restoreCluster(context, journal, request(more)),
  }
}

/** What a server that died left behind, for whoever wants to know why. Returns the path of its log. */
export function removeLog(hint: string | undefined): string {
  const room = /its log: (\/tmp\/nexus-backup-\w+)\/server\.log/.exec(hint ?? '')?.[1]
  if (room === undefined) throw new Error(`no log is named: ${hint}`)
  const log = join(room, 'server.log')
  rmSync(room, { recursive: true })
  return log
}
