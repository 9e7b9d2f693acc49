import { NexusError } from '../../errors.js'
import { quoted } from '../layout.js'
import { sealedSuffix } from '../sealed/sealed-layout.js'

/** Directory of a source's WAL: `SOURCE/wal/SYSTEMID/TIMELINE/NAME.zst` (design section 5). */
export const walDirectory = 'wal'
const suffix = '.zst'

/** How a file of the log is stored: as zstd packs it, or that sealed. */
export type WalForm = 'plain' | 'sealed'

const namePattern = /^([0-9A-F]{8})(?:\.history|[0-9A-F]{16}(?:\.partial|\.[0-9A-F]{8}\.backup)?)$/
const systemPattern = /^[1-9]\d{0,19}$/

/** Whether a directory's name can be a system identifier. */
export function isSystemIdentifier(name: string): boolean {
  return systemPattern.test(name)
}

/** The directory of one system. Throws `usage` for what is no system identifier. */
export function systemDirectory(source: string, systemIdentifier: string): string {
  if (isSystemIdentifier(systemIdentifier)) return `${source}/${walDirectory}/${systemIdentifier}`
  throw new NexusError('usage', 'system_identifier_invalid', `${quoted(systemIdentifier)} is not a system identifier`)
}

/** The path of a WAL file below its system's directory, in one of its forms. Throws `usage` for a name that the server never gives one. */
export function walPath(name: string, form: WalForm = 'plain'): string {
  const timeline = namePattern.exec(name)?.[1]
  if (timeline !== undefined) return `${timeline}/${name}${suffix}${form === 'sealed' ? sealedSuffix : ''}`
  throw new NexusError('usage', 'wal_name_invalid', `${quoted(name)} is not the name of a file of the log`, {
    hint: 'names look like 000000010000000000000042, 00000002.history or 000000010000000000000042.00000028.backup',
  })
}

/** The name of the WAL file that is stored under a file name of a timeline's directory; undefined for anything else. */
export function walNameOf(timeline: string, fileName: string): string | undefined {
  const packed = fileName.endsWith(sealedSuffix) ? fileName.slice(0, -sealedSuffix.length) : fileName
  if (!packed.endsWith(suffix)) return undefined
  const name = packed.slice(0, -suffix.length)
  return namePattern.exec(name)?.[1] === timeline ? name : undefined
}

/** The number of a timeline's directory; undefined for anything else. */
export function timelineOf(directory: string): number | undefined {
  return /^[0-9A-F]{8}$/.test(directory) ? Number.parseInt(directory, 16) : undefined
}

export function timelineDirectory(timeline: number): string {
  return timeline.toString(16).toUpperCase().padStart(8, '0')
}
