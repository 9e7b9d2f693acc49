import { describe, expect, it } from 'vitest'
import { BackupNotes } from '../../../src/sources/postgres/backup-notes.js'
import { clusterFacts } from '../../../src/sources/postgres/cluster-facts.js'
import type { ClusterProbe } from '../../../src/sources/postgres/probe.js'
import type { TarMember } from '../../../src/sources/postgres/tar-scan.js'

const label = (from: string) => `START WAL LOCATION: 1A/2000028 (file 000000010000001A00000002)
CHECKPOINT LOCATION: 1A/2000060
BACKUP METHOD: streamed
BACKUP FROM: ${from}
START TIME: 2026-11-23 04:07:09 UTC
LABEL: nexus-backup
START TIMELINE: 1
`

const manifest = (ranges: string) => `{ "PostgreSQL-Backup-Manifest-Version": 1,
"Files": [
${'{ "Path": "base/1/1259", "Size": 8192, "Checksum-Algorithm": "CRC32C", "Checksum": "536f950b" },\n'.repeat(3000)}],
"WAL-Ranges": [
${ranges}
],
"Manifest-Checksum": "26c063713bb9a98ab639c12a4e275756dc6396efd0e084d9aaabc392fca029c7"}
`

function notesOf(files: Record<string, string>, pieceBytes = 10_000): BackupNotes {
  const notes = new BackupNotes()
  for (const [name, text] of Object.entries(files)) {
    const member: TarMember = { name, type: '0', size: text.length, uid: 101, gid: 104, mtime: 0 }
    notes.take({ kind: 'header', member, bytes: Buffer.alloc(512) })
    for (let at = 0; at < text.length; at += pieceBytes) {
      notes.take({ kind: 'content', member, bytes: Buffer.from(text.slice(at, at + pieceBytes)) })
    }
  }
  return notes
}

const one = '{ "Timeline": 1, "Start-LSN": "1A/2000028", "End-LSN": "1A/5000100" }'

describe('what a base backup tells of itself', () => {
  it.each([
    100, 997, 10_000,
  ])('is start from its label and end from its manifest, in pieces of %i bytes', pieceBytes => {
    const files = { backup_label: label('primary'), backup_manifest: manifest(one) }
    expect(notesOf(files, pieceBytes).span()).toEqual({
      startLsn: '1A/2000028',
      startSegment: '000000010000001A00000002',
      stopLsn: '1A/5000100',
      timeline: 1,
      standby: false,
    })
  })

  it('ends on the newest timeline when the standby it came from followed a switch', () => {
    const ranges = `{ "Timeline": 2, "Start-LSN": "1A/3000000", "End-LSN": "1A/4000200" },\n{ "Timeline": 1, "Start-LSN": "1A/2000028", "End-LSN": "1A/3000000" }`
    const span = notesOf({ backup_label: label('standby'), backup_manifest: manifest(ranges) }).span()
    expect(span).toMatchObject({ stopLsn: '1A/4000200', timeline: 2, standby: true })
  })

  it('without a label or a manifest is no backup', () => {
    const incomplete = expect.objectContaining({ code: 'backup_incomplete' })
    expect(() => notesOf({ backup_manifest: manifest(one) }).span()).toThrow(incomplete)
    expect(() => notesOf({ backup_label: label('primary') }).span()).toThrow(incomplete)
    expect(() => notesOf({ backup_label: 'START', backup_manifest: manifest(one) }).span()).toThrow(incomplete)
  })
})

describe('the last segment that a backup needs', () => {
  it.each([
    ['0/2000100', 16, '000000010000000000000002'],
    ['0/3000000', 16, '000000010000000000000002'],
    ['0/3000001', 16, '000000010000000000000003'],
    ['1A/0', 16, '0000000100000019000000FF'],
    ['1A/40000100', 1024, '000000010000001A00000001'],
    ['2/100000', 1, '000000010000000200000000'],
  ])('for a stop at %s with segments of %i MiB is %s', (stopLsn, megabytes, segment) => {
    const span = { startLsn: '0/1', startSegment: 'x', stopLsn, timeline: 1, standby: false }
    const cluster = { walSegmentBytes: megabytes * 1024 * 1024 } as ClusterProbe
    const owner = { owner: 'postgres', group: 'postgres', uid: 1, gid: 1 }
    expect(clusterFacts(cluster, span, owner, { configurationFiles: [], walDirectory: null }).stop_segment).toBe(
      segment,
    )
  })
})
