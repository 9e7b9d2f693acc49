import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { BackupNotes } from '../../../src/sources/postgres/backup-notes.js'
import { parseControlData } from '../../../src/sources/postgres/control-data.js'
import { parseControlFile } from '../../../src/sources/postgres/control-file.js'
import type { TarMember } from '../../../src/sources/postgres/tar-scan.js'
import { checkSegment, parseWalHeader } from '../../../src/sources/postgres/wal-header.js'

/**
 * What a server of each version wrote and its programs said, of Debian's and Ubuntu's packages: `initdb`, a log switch,
 * CREATE TABLE, a restore point, a prepared transaction and its commit, one that was rolled back, CHECKPOINT, pg_basebackup.
 */
interface RecordedServer {
  major: number
  version: string
  /** The first bytes of global/pg_control and of 000000010000000000000002, in hexadecimal. */
  pg_control: string
  segment: string
  /** Lines of output. */
  pg_controldata: string[]
  backup_label: string[]
  /** Its first line and its last ones. */
  backup_manifest: string[]
}

const servers: RecordedServer[] = JSON.parse(readFileSync(new URL('servers.json', import.meta.url), 'utf8'))
const SEGMENT = '000000010000000000000002'
const SEGMENT_BYTES = 16 * 1024 * 1024

it('servers of all supported versions were recorded', () => {
  expect(servers.map(({ major }) => major)).toEqual([13, 14, 15, 16, 17, 18])
})

describe.each(servers)('a server of version $version', server => {
  const control = parseControlFile(Buffer.from(server.pg_control, 'hex'), 'pg_control')

  it('and its log are known by their first bytes', () => {
    const segment = Buffer.alloc(SEGMENT_BYTES)
    segment.write(server.segment, 'hex')
    expect(checkSegment(SEGMENT, segment, control)).toEqual({
      magic: segment.readUInt16LE(0),
      major: server.major,
      timeline: 1,
      address: 0x2000000n,
      systemIdentifier: control.systemIdentifier,
      segmentBytes: SEGMENT_BYTES,
    })
  })

  it('takes no log of another version, which its control file tells only from 17 on', () => {
    const others = servers.filter(({ major }) => major !== server.major)
    const taken = others.filter(other => {
      const segment = Buffer.alloc(SEGMENT_BYTES)
      segment.write(other.segment, 'hex')
      const system = parseWalHeader(segment)?.systemIdentifier ?? ''
      try {
        return checkSegment(SEGMENT, segment, { ...control, systemIdentifier: system }) !== undefined
      } catch {
        return false
      }
    })
    const sameControl = [13, 14, 15, 16].filter(major => major !== server.major)
    expect(taken.map(({ major }) => major)).toEqual(server.major < 17 ? sameControl : [])
  })

  it('is described by pg_controldata', () => {
    expect(parseControlData(server.pg_controldata.join('\n'))).toEqual({
      systemIdentifier: control.systemIdentifier,
      state: 'in production',
      // From 18 on without being asked for.
      dataChecksums: server.major >= 18,
      settings: {
        max_connections: '100',
        max_worker_processes: '8',
        max_wal_senders: '10',
        max_prepared_transactions: '5',
        max_locks_per_transaction: '64',
        track_commit_timestamp: 'off',
      },
      walSegmentBytes: 16 * 1024 * 1024,
    })
  })

  it('writes base backups that tell where they begin and end', () => {
    const notes = new BackupNotes()
    for (const [name, lines] of [
      ['backup_label', server.backup_label],
      ['backup_manifest', server.backup_manifest],
    ] as const) {
      const text = `${lines.join('\n')}\n`
      const member: TarMember = { name, type: '0', size: text.length, uid: 101, gid: 104, mtime: 0 }
      notes.take({ kind: 'content', member, bytes: Buffer.from(text) })
    }
    expect(notes.span()).toEqual({
      startLsn: '0/3000028',
      startSegment: '000000010000000000000003',
      stopLsn: server.major < 17 ? '0/3000100' : '0/3000120',
      timeline: 1,
      standby: false,
    })
  })
})
