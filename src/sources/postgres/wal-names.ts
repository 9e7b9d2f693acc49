import { NexusError } from '../../errors.js'

/** A position in the log of a cluster: bytes since its beginning (PostgreSQL xlogdefs.h, XLogRecPtr). */
export type Lsn = bigint

/** What a file of the log is called, taken apart. `log` and `segment` are the two halves of the name after the timeline. */
export type WalName =
  | { kind: 'segment'; name: string; timeline: number; log: number; segment: number }
  /** The last, unfinished segment of a timeline that was left at a promotion: never a full one. */
  | { kind: 'partial'; name: string; timeline: number; log: number; segment: number }
  /** Written by the server at the end of a base backup; `offset` is where in the segment it began. */
  | { kind: 'backup'; name: string; timeline: number; log: number; segment: number; offset: number }
  | { kind: 'history'; name: string; timeline: number }

const LOG_BYTES = 0x1_0000_0000n
const MIB = 1024 * 1024
const largestLsn = 0xffff_ffff_ffff_ffffn
const pattern = /^([0-9A-F]{8})(?:\.(history)|([0-9A-F]{8})([0-9A-F]{8})(?:\.(partial)|\.([0-9A-F]{8})\.backup)?)$/

/** Takes a file name apart; undefined for anything that is no file of the log (PostgreSQL xlog_internal.h, IsXLogFileName …). */
export function parseWalName(name: string): WalName | undefined {
  const [, tli, history, log, segment, partial, offset] = pattern.exec(name) ?? []
  const timeline = tli === undefined ? 0 : hex(tli)
  if (timeline === 0) return undefined
  if (history !== undefined) return { kind: 'history', name, timeline }
  const place = { name, timeline, log: hex(log ?? ''), segment: hex(segment ?? '') }
  if (partial !== undefined) return { kind: 'partial', ...place }
  if (offset !== undefined) return { kind: 'backup', ...place, offset: hex(offset) }
  return { kind: 'segment', ...place }
}

/** Whether a number of bytes can be a segment's: a power of two from 1 MiB to 1 GiB (xlog_internal.h, IsValidWalSegSize). */
export function isSegmentSize(bytes: number): boolean {
  return Number.isInteger(bytes) && bytes >= MIB && bytes <= 1024 * MIB && Number.isInteger(Math.log2(bytes))
}

/**
 * The running number of the segment a name stands for, counted over the whole log: the one after it has the next number.
 * Undefined where the name cannot belong to segments of this size. @param segmentBytes size of a segment
 */
export function segmentNumber(place: { log: number; segment: number }, segmentBytes: number): number | undefined {
  const inLog = segmentsInLog(segmentBytes)
  return place.segment < inLog ? place.log * inLog + place.segment : undefined
}

/** The name of a segment by its timeline and running number. */
export function segmentName(timeline: number, number: number, segmentBytes: number): string {
  const inLog = segmentsInLog(segmentBytes)
  return `${eight(timeline)}${eight(Math.floor(number / inLog))}${eight(number % inLog)}`
}

/** The running number of the segment that holds a position. */
export function segmentAt(lsn: Lsn, segmentBytes: number): number {
  return Number(lsn / BigInt(segmentBytes))
}

/** Where a segment begins. */
export function segmentStart(number: number, segmentBytes: number): Lsn {
  return BigInt(number) * BigInt(segmentBytes)
}

/** The segment so many after (or, negative, before) this one on the same timeline; undefined before the first of all. */
export function segmentBeside(name: string, by: number, segmentBytes: number): string | undefined {
  const parsed = parseWalName(name)
  if (parsed?.kind !== 'segment') return undefined
  const number = segmentNumber(parsed, segmentBytes)
  if (number === undefined || number + by < 0 || number + by > segmentAt(largestLsn, segmentBytes)) return undefined
  return segmentName(parsed.timeline, number + by, segmentBytes)
}

/** The name of a timeline's history file. */
export function historyName(timeline: number): string {
  return `${eight(timeline)}.history`
}

/** Reads a position as PostgreSQL writes it, `16/B374D848`. Undefined for anything else. */
export function parseLsn(text: string): Lsn | undefined {
  const [, high, low] = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text) ?? []
  if (high === undefined || low === undefined) return undefined
  return BigInt(`0x${high}`) * LOG_BYTES + BigInt(`0x${low}`)
}

/** A position as PostgreSQL writes it. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn / LOG_BYTES).toString(16).toUpperCase()}/${(lsn % LOG_BYTES).toString(16).toUpperCase()}`
}

function segmentsInLog(segmentBytes: number): number {
  if (isSegmentSize(segmentBytes)) return Number(LOG_BYTES) / segmentBytes
  throw new NexusError('damage', 'wal_segment_size', `${segmentBytes} bytes cannot be the size of a WAL segment`)
}

function hex(digits: string): number {
  return Number.parseInt(digits, 16)
}

function eight(number: number): string {
  return number.toString(16).toUpperCase().padStart(8, '0')
}
