import type { Epoch } from '../keys/epoch.js'
import { quoted } from '../layout.js'
import { isWalSignedBy, type WalFileHeader } from '../wal/wal-file.js'
import type { Keyring } from './keyring.js'

/**
 * Why an archived WAL file is not ours, as the rest of a sentence; undefined for one that is.
 *
 * A signed file is what its signature is worth. One without a signature that counts must be from before files were signed:
 * its line of epochs says how far the archive reached then, and neither a higher timeline nor a higher position counts. The epoch's own
 * signature covers that record, so only who holds the keys can move it. A line of earlier versions has no such record until
 * its keys are rotated; then what is sealed counts, and a segment in plain only from before the repository had keys.
 */
export async function walProblem(keyring: Keyring, source: string, header: WalFileHeader): Promise<string | undefined> {
  const { signer, encryption } = header
  const signature =
    signer === undefined
      ? undefined
      : await keyring.judge({ signer, source, epoch: encryption?.epoch }, ({ signing_key: key }) =>
          isWalSignedBy(header, key),
        )
  if (signature?.trust === 'ours') return undefined
  if (signature?.trust === 'badly-signed') return signature.problem
  const counting = [keyring.own, ...(await keyring.linesOf(source))].filter(line => line.length > 0)
  if (encryption === undefined && !keyring.isEncrypted && counting.length === 0) return undefined
  const lines = counting.filter(line => encryption === undefined || line.some(({ id }) => id === encryption.epoch))
  if (lines.some(line => isFromBefore(line, source, header))) return undefined
  if (signature?.sealedTo !== undefined) {
    return `was signed by ${quoted(signature.host)} for another repository: it is sealed to ${signature.sealedTo}`
  }
  if (signature !== undefined) {
    const distrust = await keyring.distrustOf(signature.signer, source)
    const why =
      distrust === undefined ? 'for which nobody has vouched' : `which is distrusted since ${distrust.word.since}`
    return `was signed by ${quoted(signature.host)} with the key ${signer}, ${why}`
  }
  if (encryption === undefined && !isHistory(header.name)) {
    return 'is neither encrypted nor signed, though the repository is encrypted'
  }
  return lines.length === 0 && encryption !== undefined
    ? `is signed by nobody, and sealed to ${encryption.epoch}, which does not count here`
    : 'is signed by nobody, though the repository signs what it archives'
}

/** The highest timeline and the highest position among names of WAL files; undefined where there are none. */
export function reachOf(names: readonly string[]): string | undefined {
  const highest = (parts: string[]) => parts.reduce((a, b) => (b > a ? b : a), '')
  const timeline = highest(names.map(timelineIn))
  return timeline === '' ? undefined : timeline + (highest(names.map(positionIn)) || '0'.repeat(16))
}

function isFromBefore(line: readonly Epoch[], source: string, header: WalFileHeader): boolean {
  const { name, system_identifier: system, encryption, archived_at: archivedAt } = header
  const epoch = line.find(({ unsigned_wal }) => unsigned_wal !== undefined)
  if (epoch?.unsigned_wal === undefined) {
    const [first] = line
    return encryption !== undefined || isHistory(name) || Date.parse(archivedAt) < Date.parse(first?.created ?? '')
  }
  const reach = epoch.unsigned_wal[`${source}/${system}`]
  if (reach === undefined || timelineIn(name) > reach.slice(0, 8)) return false
  const isUnderWay = Date.parse(archivedAt) < Date.parse(epoch.created) + UNDER_WAY_MS
  return positionIn(name) <= reach.slice(8) || (isUnderWay && logIn(name) <= logOf(reach.slice(8)) + 1)
}

/**
 * An archiver that began before the epoch did goes on as it began: what it stores beyond the record counts for this time, and
 * no further than the next 4 GiB of WAL.
 */
const UNDER_WAY_MS = 3_600_000

function isHistory(name: string): boolean {
  return name.endsWith('.history')
}

/** Hexadecimal digits of one length sort like the numbers. */
function timelineIn(name: string): string {
  return name.slice(0, 8)
}

function logIn(name: string): number {
  return logOf(positionIn(name))
}

/** Which 4 GiB of WAL a position lies in. */
function logOf(position: string): number {
  return Number.parseInt(position.slice(0, 8), 16)
}

/** Empty for a history. */
function positionIn(name: string): string {
  return isHistory(name) ? '' : name.slice(8, 24)
}
