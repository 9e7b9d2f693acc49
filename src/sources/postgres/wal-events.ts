import type { Micros } from '../../model/micros.js'
import { mainData, type RecordFilter, type WalRecord } from './wal-records.js'

/** The end of a transaction. */
export interface TransactionEnd {
  kind: 'commit' | 'abort'
  lsn: bigint
  /** As `recovery_target_xid` names it: of a prepared one its own number. */
  xid: number
  /** Numbers of its subtransactions. */
  members: number[]
  at: Micros
}

/** What decides where a recovery can end. */
export type WalEvent =
  | (TransactionEnd & { kind: 'commit' })
  | (TransactionEnd & { kind: 'abort' })
  | { kind: 'restore-point'; lsn: bigint; name: string; at: Micros }
  /** The server was started with other parameters. */
  | { kind: 'parameters'; lsn: bigint; isMinimal: boolean }
  /** The number that the next transaction gets: those below it were given out before, the others later. */
  | { kind: 'next-xid'; lsn: bigint; xid: number }
  /** Files go with this record; the transaction commits later. */
  | { kind: 'drop'; lsn: bigint; xid: number; what: 'database' | 'tablespace'; oid: number }

/** PostgreSQL rmgrlist.h, and the info bits of their records. */
const [RM_XLOG, RM_XACT, RM_DATABASE, RM_TABLESPACE, RM_STANDBY] = [0, 1, 4, 5, 8]
const [SHUTDOWN_CHECKPOINT, ONLINE_CHECKPOINT, PARAMETER_CHANGE, RESTORE_POINT] = [0x00, 0x10, 0x60, 0x70]
const RUNNING_TRANSACTIONS = 0x10
const [COMMIT, ABORT, COMMIT_PREPARED, ABORT_PREPARED] = [0x00, 0x20, 0x30, 0x40]
const XACT_OPERATION = 0x70
const XACT_HAS_INFO = 0x80
const TABLESPACE_DROP = 0x10
/** Parts of a transaction's last record, in the order in which they stand (PostgreSQL xactdesc.c, ParseCommitRecord). */
const [HAS_DATABASE, HAS_MEMBERS, HAS_FILES, HAS_INVALIDATIONS, HAS_PREPARED, HAS_STATISTICS] = [1, 2, 4, 8, 16, 256]
/** 2000-01-01, the server's epoch. */
const EPOCH: Micros = 946_684_800_000_000n

/** The records that `eventOf` can be asked about. */
export const eventRecords: RecordFilter = (rmgr, info) => {
  if (rmgr === RM_XACT) return [COMMIT, ABORT, COMMIT_PREPARED, ABORT_PREPARED].includes(info & XACT_OPERATION)
  if (rmgr === RM_XLOG) {
    return [SHUTDOWN_CHECKPOINT, ONLINE_CHECKPOINT, PARAMETER_CHANGE, RESTORE_POINT].includes(info & 0xf0)
  }
  if (rmgr === RM_STANDBY) return (info & 0xf0) === RUNNING_TRANSACTIONS
  return rmgr === RM_DATABASE || rmgr === RM_TABLESPACE
}

/** What a record says; null for one that decides nothing. @param major version of the server that wrote it */
export function eventOf(record: WalRecord, major: number): WalEvent | null {
  const { lsn, rmgr, info, xid } = record
  const data = mainData(record)
  if (rmgr === RM_XACT) return transactionEnd(record, data, major)
  if (rmgr === RM_XLOG && (info & 0xf0) === RESTORE_POINT) {
    const end = data.indexOf(0, 8)
    const name = data.toString('utf8', 8, end === -1 ? data.length : end)
    return { kind: 'restore-point', lsn, name, at: timeAt(data, 0) }
  }
  if (rmgr === RM_XLOG && (info & 0xf0) === PARAMETER_CHANGE) {
    // xl_parameter_change: five numbers stand before the level (PostgreSQL 12 and later), and 0 is minimal.
    return { kind: 'parameters', lsn, isMinimal: data.readInt32LE(20) === 0 }
  }
  // CheckPoint: a position, two timelines and a flag stand before the number (PostgreSQL pg_control.h).
  if (rmgr === RM_XLOG) return { kind: 'next-xid', lsn, xid: data.readUInt32LE(24) }
  // xl_running_xacts: two counts and a flag stand before it (PostgreSQL standbydefs.h).
  if (rmgr === RM_STANDBY) return { kind: 'next-xid', lsn, xid: data.readUInt32LE(12) }
  if (rmgr === RM_DATABASE && (info & 0xf0) === (major >= 15 ? 0x20 : 0x10)) {
    return { kind: 'drop', lsn, xid, what: 'database', oid: data.readUInt32LE(0) }
  }
  if (rmgr === RM_TABLESPACE && (info & 0xf0) === TABLESPACE_DROP) {
    return { kind: 'drop', lsn, xid, what: 'tablespace', oid: data.readUInt32LE(0) }
  }
  return null
}

function transactionEnd({ lsn, info, xid }: WalRecord, data: Buffer, major: number): WalEvent {
  const operation = info & XACT_OPERATION
  const kind = operation === COMMIT || operation === COMMIT_PREPARED ? 'commit' : 'abort'
  const parts = (info & XACT_HAS_INFO) === 0 ? 0 : data.readUInt32LE(8)
  const has = (part: number) => (parts & part) !== 0
  let at = (info & XACT_HAS_INFO) === 0 ? 8 : 12
  const list = (itemBytes: number) => {
    const begin = at + 4
    at = begin + data.readInt32LE(at) * itemBytes
    return begin
  }
  if (has(HAS_DATABASE)) at += 8
  const members: number[] = []
  if (has(HAS_MEMBERS)) for (let begin = list(4); begin < at; begin += 4) members.push(data.readUInt32LE(begin))
  if (has(HAS_FILES)) list(12)
  if (has(HAS_STATISTICS)) list(major >= 18 ? 16 : 12)
  if (has(HAS_INVALIDATIONS)) list(16)
  const own = has(HAS_PREPARED) ? data.readUInt32LE(at) : xid
  return { kind, lsn, xid: own, members, at: timeAt(data, 0) }
}

function timeAt(data: Buffer, offset: number): Micros {
  return data.readBigInt64LE(offset) + EPOCH
}
