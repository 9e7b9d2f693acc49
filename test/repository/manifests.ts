import { createHash } from 'node:crypto'
import { makeBackupId } from '../../src/repository/layout.js'
import type { BackupType, Manifest, ManifestPart } from '../../src/repository/manifest.js'

/** What a test wants to say about a manifest; the rest is filled in so that it is valid. */
export interface ManifestWishes {
  id?: string
  type?: BackupType
  parent?: string | null
  sequence?: number
  source?: string
  at?: Date
  files?: { path: string; size: number; block_size: number }[]
  parts?: ManifestPart[]
}

/** A valid manifest. */
export function exampleManifest(wishes: ManifestWishes = {}): Manifest {
  const type = wishes.type ?? 'full'
  const at = wishes.at ?? new Date('2025-11-03T03:00:00.123Z')
  const files = wishes.files ?? [{ path: 'itsm.db', size: 10_000, block_size: 4096 }]
  const blocks = files.reduce((sum, file) => sum + Math.ceil(file.size / file.block_size), 0)
  return {
    format: 1,
    id: wishes.id ?? makeBackupId(at, type, '7f3a'),
    sequence: wishes.sequence ?? 1,
    run_id: 'run-1',
    source: wishes.source ?? 'itsm',
    kind: 'sqlite',
    host: 'db1',
    operator: { user: 'root', sudo_user: null },
    type,
    parent: wishes.parent ?? null,
    captured_at: at.toISOString(),
    keep_until: null,
    label: null,
    versions: { 'nexus-backup': '0.1.0' },
    files,
    digest_algorithm: 'xxh3-128',
    digest_seed: '00'.repeat(8),
    image_digest: '00'.repeat(32),
    parts: wishes.parts ?? [],
    checks: [],
    damaged_source: false,
    bytes_source: files.reduce((sum, file) => sum + file.size, 0),
    bytes_stored: 0,
    blocks_total: blocks,
    blocks_stored: blocks,
    duration_ms: 1,
    warnings: [],
    facts: {},
  }
}

export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}
