import type { NexusError } from '../errors.js'
import {
  type BackupProofs,
  listProofs,
  outcomesOf,
  type ProofTrust,
  readProofs,
  removeReplaced,
  replacedNames,
  writeProof,
} from './proofs.js'
import type { Signer } from './sealed/sealed-manifest.js'
import type { SmallFiles } from './small-files.js'
import type { Storage } from './storage/storage.js'
import type { Proof } from './types.js'

/** Whose proofs count where new ones are written, and who signs these. */
export interface ProofKeeping {
  now: Date
  /** Without it every proof counts. */
  trust?: ProofTrust | undefined
  /** Asked when something must be signed; null where this host's word does not count: then it is not written. */
  signer(): Promise<Signer | null>
}

/** The proofs of a source, where they are read from and written to. */
export interface ProofShelf {
  storage: Storage
  /** The same storage, or a summary of it. */
  files: SmallFiles
  repository: string
  source: string
}

/** Keeps one proof a backup, each in the place of all earlier ones of its backup. */
export async function keepProofs(
  { storage, files, repository, source }: ProofShelf,
  proofs: readonly Proof[],
  how: ProofKeeping,
): Promise<void> {
  const mustSign = ({ id }: Proof) => how.trust?.isRequired(id) === true
  const signer = proofs.some(mustSign) ? await how.signer() : null
  const wanted = proofs.filter(proof => signer !== null || !mustSign(proof))
  if (wanted.length === 0) return
  const ids = new Set(wanted.map(({ id }) => id))
  const found = await readProofs(files, source, { ids, ...readingOf(how) })
  const gone: string[] = []
  for (const proof of wanted) {
    const before = found.get(proof.id)
    const place = { repository, source }
    const own = mustSign(proof) && signer !== null ? signer : undefined
    await writeProof(storage, source, proof, { place, now: how.now, before, gone, signer: own })
  }
  await removeReplaced(storage, source, gone)
}

/**
 * Removes the proofs of backups that are not there and those that others stand for. Where a backup still has several, as
 * earlier versions of this program left them, one takes their place.
 */
export async function tidyProofs(shelf: ProofShelf, ids: ReadonlySet<string>, how: ProofKeeping): Promise<void> {
  const { storage, files, source } = shelf
  const names = await listProofs(storage, source)
  const orphans = [...names].flatMap(([id, own]) => (ids.has(id) ? [] : own.map(({ name }) => name)))
  const several = [...names].filter(([id, own]) => ids.has(id) && own.length > 1).map(([id]) => id)
  const found =
    several.length === 0
      ? new Map<string, BackupProofs>()
      : await readProofs(files, source, { ids: new Set(several), ...readingOf(how) })
  await removeReplaced(storage, source, [...orphans, ...[...found.values()].flatMap(replacedNames)])
  const merged = [...found.values()].filter(known => known.names.length - replacedNames(known).length > 1)
  const newest = merged.flatMap(({ files: read }) => {
    const proofs = read.map(({ file }) => file.proof).filter(({ at }) => Date.parse(at) <= how.now.getTime())
    return proofs.sort((a, b) => Date.parse(a.at) - Date.parse(b.at)).slice(-1)
  })
  await keepProofs(shelf, newest, how)
}

/** What is known from all proofs of a source, whoever wrote them. @param onDamage else damage is thrown */
export async function everyProof(
  { files, source }: Pick<ProofShelf, 'files' | 'source'>,
  onDamage?: (error: NexusError) => void,
): Promise<Proof[]> {
  const found = [...(await readProofs(files, source)).values()]
  for (const { error } of found.flatMap(({ unreadable }) => unreadable)) {
    if (onDamage === undefined) throw error
    onDamage(error)
  }
  return outcomesOf(found)
}

function readingOf({ now, trust }: ProofKeeping) {
  return { now, ...(trust === undefined ? {} : { trust }) }
}
