import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf, NexusError } from '../../errors.js'

/** What the beginning of `global/pg_control` says of a cluster; these fields never move (PostgreSQL pg_control.h). */
export interface ControlFile {
  /** Decimal, as `pg_controldata` prints it. */
  systemIdentifier: string
  controlVersion: number
  catalogVersion: number
}

/** Bytes of the fields we read. */
export const CONTROL_BYTES = 16

/** Understands the beginning of a pg_control. @throws NexusError damage `control_file_damaged` */
export function parseControlFile(bytes: Uint8Array, path: string): ControlFile {
  if (bytes.byteLength < CONTROL_BYTES) throw damaged(path, 'it is too short')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  // Written in the machine's byte order; the version is a small number in one of the two (pg_controldata.c does the same).
  const little = view.getUint32(8, true) <= 0xffff
  const controlVersion = view.getUint32(8, little)
  const systemIdentifier = view.getBigUint64(0, little)
  if (controlVersion === 0 || controlVersion > 0xffff || systemIdentifier === 0n) {
    throw damaged(path, 'it does not begin as a control file does')
  }
  return {
    systemIdentifier: systemIdentifier.toString(),
    controlVersion,
    catalogVersion: view.getUint32(12, little),
  }
}

/**
 * Reads `global/pg_control` of a data directory; undefined where there is none.
 * @throws NexusError damage, or failed `control_file_unreadable`
 */
export function readControlFile(dataDirectory: string): ControlFile | undefined {
  const path = join(dataDirectory, 'global', 'pg_control')
  const bytes = Buffer.alloc(CONTROL_BYTES)
  let length: number
  try {
    const descriptor = openSync(path, 'r')
    try {
      length = readSync(descriptor, bytes, 0, CONTROL_BYTES, 0)
    } finally {
      closeSync(descriptor)
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined
    throw new NexusError('failed', 'control_file_unreadable', `cannot read ${path}`, {
      hint: 'run it as the user PostgreSQL runs as, in the data directory',
      cause: error,
    })
  }
  return parseControlFile(bytes.subarray(0, length), path)
}

function damaged(path: string, problem: string): NexusError {
  return new NexusError('damage', 'control_file_damaged', `${path} is damaged: ${problem}`)
}
