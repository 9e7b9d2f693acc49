import type { Manifest } from '../repository/manifest.js'
import type { BackupReport } from './results.js'

/** A backup as `create` and `list` report it. */
export function reportOf(manifest: Manifest, repository: string): BackupReport {
  const { id, source, kind, type, parent, captured_at, bytes_source, bytes_stored } = manifest
  const { blocks_total, blocks_stored, duration_ms, warnings, damaged_source } = manifest
  return {
    id,
    source,
    kind,
    type,
    parent,
    captured_at,
    bytes_source,
    bytes_stored,
    blocks_total,
    blocks_stored,
    duration_ms,
    repository,
    warnings,
    damaged_source,
    incomplete: manifest.incomplete ?? false,
  }
}
