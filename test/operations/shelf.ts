import { createHash } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { RepositorySettings } from '../../src/config/settings.js'
import { makeBackupId } from '../../src/repository/layout.js'
import type { BackupType, Check, Manifest, ManifestPart } from '../../src/repository/manifest.js'
import { initRepository } from '../../src/repository/open.js'
import { type S3Settings, s3Location } from '../../src/repository/storage/s3/settings.js'
import type { Repository, SourceRoom } from '../../src/repository/types.js'
import { temporaryDirectory } from '../helpers/temporary.js'

export const passed: Check[] = [{ name: 'integrity_check', kind: 'integrity', status: 'ok', detail: 'ok' }]

/** A real repository to put backups on whose content is of no matter. */
export interface Shelf {
  settings: RepositorySettings
  repository: Repository
  room(source: string): SourceRoom
  /** Adds a backup captured on a day of November 2025, 03:00 UTC, with the next sequence. Returns its id. */
  add(day: number, wishes?: Partial<Manifest> & { source?: string }): Promise<string>
  /** Path of something in it. */
  path(...names: string[]): string
  /** Takes a backup's manifest away. */
  rob(id: string, source?: string): void
}

/** @param s3 a bucket to put it in, else a directory */
export async function shelf(name = 'local', s3?: S3Settings): Promise<Shelf> {
  const path = s3 === undefined ? join(temporaryDirectory(), 'repo') : s3Location(s3)
  const place = { path, ...(s3 === undefined ? {} : { s3 }) }
  const repository = await initRepository(place, { now: new Date('2025-11-01T00:00:00Z') })
  const sequences = new Map<string, number>()
  return {
    settings: { name, ...place },
    repository,
    room: source => repository.source(source),
    path: (...names) => join(path, ...names),
    rob: (id, source = 'itsm') => rmSync(join(path, source, id, 'manifest.json')),
    async add(day, { source = 'itsm', ...wishes } = {}) {
      const sequence = (sequences.get(source) ?? 0) + 1
      sequences.set(source, sequence)
      const capturedAt = new Date(Date.UTC(2025, 10, day, 3))
      const type: BackupType = wishes.type ?? 'full'
      const id = wishes.id ?? makeBackupId(capturedAt, type)
      const writer = await repository.source(source).begin(id)
      const parts: ManifestPart[] = []
      for (const part of [
        { name: type === 'full' ? 'itsm.db.zst' : 'blocks.zst', role: type === 'full' ? 'image' : 'blocks' },
        { name: 'blocks.idx', role: 'index' },
      ] as const) {
        const file = await writer.create(part.name)
        await file.write(Buffer.from(`${part.name} of ${id}`))
        parts.push({ ...(await file.close()), role: part.role })
      }
      await writer.commit(
        manifestOf({ id, source, type, sequence, captured_at: capturedAt.toISOString(), ...wishes, parts }),
        parts,
      )
      return id
    },
  }
}

function manifestOf(
  wishes: Partial<Manifest> & Pick<Manifest, 'id' | 'source' | 'type' | 'sequence' | 'captured_at'>,
): Manifest {
  return {
    format: 1,
    run_id: 'run-1',
    kind: 'sqlite',
    host: 'db1',
    operator: { user: 'root', sudo_user: null },
    parent: null,
    keep_until: null,
    label: null,
    versions: { 'nexus-backup': '0.1.0' },
    files: [{ path: 'itsm.db', size: 8192, block_size: 4096 }],
    digest_algorithm: 'xxh3-128',
    digest_seed: '00'.repeat(8),
    // Each has a content of its own.
    image_digest: createHash('sha256').update(wishes.id).digest('hex'),
    parts: [],
    checks: [],
    damaged_source: false,
    bytes_source: 8192,
    bytes_stored: 64,
    blocks_total: 2,
    blocks_stored: 2,
    duration_ms: 12,
    warnings: [],
    facts: {},
    ...wishes,
  }
}
