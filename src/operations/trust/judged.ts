import type { Context } from '../../context.js'
import { type Apart, type Beginning, type Judgement, judgeTrust, type Verdict } from '../../policy/trust.js'
import type { Keyring } from '../../repository/keyring/keyring.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import { quoted } from '../../repository/layout.js'
import type { Manifest } from '../../repository/manifest.js'
import type { Entry, SourceRoom } from '../../repository/types.js'
import type { ManifestMemory } from '../../repository/unchanged.js'
import { type KnownBackups, memoryOf } from '../known-backups.js'
import { keyringOf } from './keyring-of.js'

/** A backup that is not ours, with the reason. */
export type ApartBackup = Apart<Manifest>

/** The entries of a source with a judgement of those whose manifest can be read. */
export interface JudgedEntries extends Judgement<Manifest> {
  entries: Entry[]
}

/**
 * Judges whose each backup of a source is. Of what a summary of manifests shows as not ours, or the memory of an earlier run,
 * the manifest itself is read before it is called that: anybody who may write can add a summary.
 * @param known what this host remembered before the entries were listed
 * @param memory what the entries were listed with
 */
export async function judgeEntries(
  context: Pick<Context, 'stateDirectory' | 'warn'>,
  room: SourceRoom,
  entries: Entry[],
  { known, keyring, memory }: { known: KnownBackups; keyring?: Keyring; memory?: ManifestMemory | undefined },
): Promise<JudgedEntries> {
  const keys = keyring ?? (await keyringOf(context, room.repository))
  const judged = await trustOf(room, entries, known, keys)
  const isSummarized = room.repository.storage.localPath(room.name) === undefined
  if (judged.apart.length === 0 || !(isSummarized || memory !== undefined)) return { entries, ...judged }
  const thorough = new Set(judged.apart.map(({ member }) => member.id))
  const again = await room.entries({ thorough, memory })
  return { entries: again, ...(await trustOf(room, again, known, keys)) }
}

async function trustOf(
  room: SourceRoom,
  entries: readonly Entry[],
  known: KnownBackups,
  keyring: Keyring,
): Promise<Judgement<Manifest>> {
  const members = entries.flatMap(entry => (entry.status === 'ok' ? [entry.manifest] : []))
  const signatures = new Map<string, Verdict>()
  const lines: { sequence: number; line: readonly Epoch[] }[] = []
  for (const member of members) {
    if (member.encryption === undefined) continue
    const signature = await keyring.signatureOf(member, member.encryption)
    const isStranger = signature.trust === 'stranger' && signature.sealedTo === undefined
    const distrust = isStranger ? await keyring.distrustOf(signature.signer, room.name) : undefined
    const line = signature.trust === 'ours' ? signature.line : distrust?.word.spares(member) ? distrust.line : undefined
    if (line !== undefined) lines.push({ sequence: member.sequence, line })
    const isSpared = line !== undefined && signature.trust === 'stranger'
    signatures.set(member.id, isSpared ? OURS : verdictOf(signature, distrust?.word.since))
  }
  const present = new Map(members.map(member => [member.id, member]))
  const remembered = Object.entries(known).map(([id, { sequence, manifest }]) => {
    const member = present.get(id)
    return [id, { sequence, isSame: member === undefined || memoryOf(member).manifest === manifest }] as const
  })
  const beginning = beginningOf(room, keyring, lines)
  return judgeTrust({ members, signatures, known: new Map(remembered), beginning })
}

const OURS: Verdict = { trust: 'ours', problem: '' }

/** @param since when the epochs gave their word against the key */
function verdictOf(signature: Awaited<ReturnType<Keyring['signatureOf']>>, since: string | undefined): Verdict {
  if (signature.trust === 'ours') return OURS
  if (signature.trust === 'badly-signed') return signature
  const { host, signer, sealedTo } = signature
  if (sealedTo !== undefined) {
    const problem = `was signed by ${quoted(host)} for another repository: it is sealed to ${sealedTo}, which is no key of this one`
    return { trust: 'stranger', problem, isOfAnother: true }
  }
  if (since !== undefined) {
    const problem = `was signed by ${quoted(host)} with the key ${signer}, which is distrusted since ${since}, and was not there then`
    return { trust: 'stranger', problem, isDistrusted: true }
  }
  return {
    trust: 'stranger',
    problem: `was signed by ${quoted(host)} with the key ${signer}, for which nobody has vouched`,
  }
}

/** A repository's own keys tell when it began to encrypt; without any, those of the copies in it. */
function beginningOf(
  room: SourceRoom,
  keyring: Keyring,
  lines: { sequence: number; line: readonly Epoch[] }[],
): Beginning | null {
  const [oldest] = lines.sort((a, b) => a.sequence - b.sequence)
  if (!keyring.isEncrypted && oldest === undefined) return null
  const line = keyring.isEncrypted ? keyring.own : (oldest?.line ?? [])
  const [first] = line
  if (first === undefined) return { since: null, plainUpTo: null }
  const { created, plain } = first
  return { since: Date.parse(created), plainUpTo: plain === undefined ? null : (plain[room.name] ?? 0) }
}
