import type { RestorePlan } from '../../src/operations/requests.js'
import type {
  BackupReport,
  CreateResult,
  ListResult,
  PruneResult,
  RestoreResult,
} from '../../src/operations/results.js'

export const id = '20251103T030000.000Z-full-7f3a'
export const place = ['--sqlite', '/data/itsm.db', '--repo', '/repo']

export const backup: BackupReport = {
  id,
  source: 'itsm',
  kind: 'sqlite',
  type: 'full',
  parent: null,
  captured_at: '2025-11-03T03:00:00.000Z',
  bytes_source: 1024,
  bytes_stored: 512,
  blocks_total: 1,
  blocks_stored: 1,
  duration_ms: 20,
  repository: '/repo',
  warnings: [],
  damaged_source: false,
  incomplete: false,
}

export const plan: RestorePlan = {
  id,
  source: 'itsm',
  captured_at: backup.captured_at,
  chain: [id],
  target: '/data/itsm.db',
  in_place: true,
  replaces: true,
  previous: '/data/itsm.db.before',
  service: null,
  bytes: 1024,
}

export const restored: RestoreResult = {
  command: 'restore',
  id,
  target: '/data/itsm.db',
  captured_at: backup.captured_at,
  previous: '/data/itsm.db.before',
  undo: 'nexus-backup restore itsm --rollback',
  checks: [],
  duration_ms: 5,
}

export function created(overrides: Partial<CreateResult> = {}): CreateResult {
  return { command: 'create', backups: [backup], failures: [], copies: [], copy_failures: [], ...overrides }
}

export function pruned(overrides: Partial<PruneResult> = {}): PruneResult {
  const nothing = { keep: [], delete: [], wal: [], bytes_freed: 0, untrusted: [], problems: [], failures: [] }
  return { command: 'prune', dry_run: false, ...nothing, ...overrides }
}

export function failure(source: string, kind: 'failed' | 'locked' | 'damage' = 'failed') {
  return { source, kind, code: `${kind}_code`, message: 'it broke', hint: 'mend it' }
}

export function listed(overrides: Partial<ListResult> = {}): ListResult {
  const entry = { ...backup, status: 'ok' as const, proven: true, label: null, keep_until: null, host: 'h' }
  return { command: 'list', backups: [entry], untrusted: [], problems: [], ...overrides }
}
