import * as v from 'valibot'
import { NexusError } from '../errors.js'
import { isSigned } from '../keys/epoch-keys.js'
import { canonicalJson } from './json.js'
import { signerIdOf } from './keys/host-file.js'
import { base64, formatKeyDocument, instant, parseKeyDocument, shortText } from './keys/key-document.js'
import { isBackupId } from './layout.js'
import type { Storage } from './storage/storage.js'

const schema = v.looseObject({
  format: v.literal(1),
  /** The id of the repository. */
  repository: v.pipe(v.string(), v.uuid()),
  source: shortText,
  host: shortText,
  /** Ed25519, raw: the key of the host that pruned. */
  signing_key: base64(32),
  noted: instant,
  /** What it removed, oldest first. */
  pruned: v.array(v.pipe(v.string(), v.check(isBackupId))),
  /** By that key, over everything else here. */
  signature: base64(64),
})

/** A host's word that it has removed backups of a source: so another host knows that nobody took them away. */
export interface PruneRecord {
  signer: string
  host: string
  signingKey: Buffer
  pruned: readonly string[]
}

/** Who signs. */
interface Pruner {
  id: string
  publicKey: Buffer
  sign(message: string): Buffer
}

const limit = 1024 * 1024
/** The oldest are forgotten first: whoever remembers them has verified since. */
const MOST_IDS = 10_000
const MOST_RECORDS = 100

/** The records of all hosts; what is damaged, not signed, or of another repository or source says nothing. */
export async function readPruneRecords(storage: Storage, repository: string, source: string): Promise<PruneRecord[]> {
  const found = (await storage.list(source)).flatMap(({ name }) => signerOf(name) ?? [])
  const records: PruneRecord[] = []
  for (const signer of found.slice(0, MOST_RECORDS)) {
    const record = await readPruneRecord(storage, { repository, source, signer })
    if (record !== undefined) records.push(record)
  }
  return records
}

/** One host's record; undefined where there is none that counts. */
export async function readPruneRecord(
  storage: Storage,
  { repository, source, signer }: { repository: string; source: string; signer: string },
): Promise<PruneRecord | undefined> {
  const name = nameOf(source, signer)
  try {
    const document = parseKeyDocument(schema, await storage.readSmall(name, limit), name)
    const { signature, ...rest } = document
    const { signing_key: signingKey, host, pruned } = rest
    if (rest.repository !== repository || rest.source !== source || signerIdOf(signingKey) !== signer) return undefined
    const text = textOf({ ...rest, signing_key: signingKey.toString('base64') })
    return isSigned(signingKey, text, signature) ? { signer, host, signingKey, pruned } : undefined
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'damage' || error.kind === 'not-found')) return undefined
    throw error
  }
}

/** Writes a host's record in place of the one before. The caller holds the writer lock of the source. */
export async function writePruneRecord(
  storage: Storage,
  record: { repository: string; source: string; host: string; pruned: readonly string[]; now: Date },
  { id, publicKey, sign }: Pruner,
): Promise<void> {
  const { repository, source, host, now } = record
  const document = {
    format: 1,
    repository,
    source,
    host,
    signing_key: publicKey.toString('base64'),
    noted: now.toISOString(),
    pruned: record.pruned.slice(-MOST_IDS),
  }
  const bytes = formatKeyDocument({ ...document, signature: sign(textOf(document)).toString('base64') })
  await storage.replace(nameOf(source, id), bytes)
}

function nameOf(source: string, signer: string): string {
  return `${source}/.pruned-${signer}.json`
}

function signerOf(name: string): string | undefined {
  return /^\.pruned-([0-9a-f]{16})\.json$/.exec(name)?.[1]
}

function textOf(document: object): string {
  return `nexus-backup 1 pruned ${canonicalJson(document)}`
}
