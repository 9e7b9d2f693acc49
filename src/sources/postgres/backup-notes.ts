import { NexusError } from '../../errors.js'
import type { TarMember, TarPiece } from './tar-scan.js'

/** Where a base backup begins and ends in the WAL, in the server's own words. */
export interface BackupSpan {
  /** As PostgreSQL writes it: `0/2000028`. */
  startLsn: string
  /** The segment that recovery begins with. */
  startSegment: string
  stopLsn: string
  /** Timeline at the end, which is nearly always that of the start. */
  timeline: number
  /** Taken from a standby. */
  standby: boolean
}

/** A label is a few lines; the manifest's WAL ranges are its last ones. */
const KEPT_BYTES = 64 * 1024

/**
 * Listens to the archive of a base backup as it passes: `backup_label` tells the start, the WAL ranges at the end of
 * `backup_manifest` the end (PostgreSQL backup_manifest.c). Bounded memory whatever the cluster's size.
 */
export class BackupNotes {
  #label = Buffer.alloc(0)
  #manifestEnd = Buffer.alloc(0)
  #first: TarMember | null = null

  /** Owner of the cluster's files by number; null before the first of them. */
  get owner(): { uid: number; gid: number } | null {
    return this.#first
  }

  take(piece: TarPiece): void {
    this.#first ??= piece.member
    if (piece.kind !== 'content') return
    if (piece.member.name === 'backup_label')
      this.#label = Buffer.concat([this.#label, piece.bytes]).subarray(0, KEPT_BYTES)
    if (piece.member.name === 'backup_manifest') {
      this.#manifestEnd = Buffer.from(Buffer.concat([this.#manifestEnd, piece.bytes]).subarray(-KEPT_BYTES))
    }
  }

  /** @throws NexusError `backup_incomplete` when the archive held no label or no manifest */
  span(): BackupSpan {
    const label = this.#label.toString('utf8')
    const start = /^START WAL LOCATION: ([0-9A-F]+\/[0-9A-F]+) \(file ([0-9A-F]{24})\)$/m.exec(label)
    const end = lastRange(this.#manifestEnd.toString('utf8'))
    const [, startLsn, startSegment] = start ?? []
    if (startLsn === undefined || startSegment === undefined) throw incomplete('backup_label')
    if (end === null) throw incomplete('backup_manifest')
    return { startLsn, startSegment, ...end, standby: /^BACKUP FROM: standby$/m.test(label) }
  }
}

/** The server lists the newest timeline's range first (PostgreSQL AddWALInfoToBackupManifest). */
function lastRange(manifest: string): { stopLsn: string; timeline: number } | null {
  const ranges = manifest.slice(Math.max(0, manifest.lastIndexOf('"WAL-Ranges"')))
  const found = /"Timeline": (\d+), "Start-LSN": "[0-9A-F/]+", "End-LSN": "([0-9A-F]+\/[0-9A-F]+)"/.exec(ranges)
  const [, timeline, stopLsn] = found ?? []
  return timeline === undefined || stopLsn === undefined ? null : { stopLsn, timeline: Number(timeline) }
}

function incomplete(file: string): NexusError {
  return new NexusError('failed', 'backup_incomplete', `the base backup holds no ${file} that can be read`, {
    hint: 'run it again; if it stays, look at the server’s log',
  })
}
