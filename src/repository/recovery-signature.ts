import { createHash } from 'node:crypto'
import * as v from 'valibot'
import { NexusError } from '../errors.js'
import { isSigned } from '../keys/epoch-keys.js'
import { canonicalJson } from './json.js'
import type { Keyring } from './keyring/keyring.js'
import { base64, formatKeyDocument, instant, parseKeyDocument } from './keys/key-document.js'
import { isSignerId, keyFileLimit, recoveryDirectory } from './keys/key-layout.js'
import { repositoryFile } from './layout.js'
import type { Signer } from './sealed/sealed-manifest.js'
import type { Storage } from './storage/storage.js'
import type { Repository } from './types.js'

const digest = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))
const schema = v.looseObject({
  format: v.literal(1),
  repository: v.pipe(v.string(), v.uuid()),
  /** SHA-256 of the root's own files, by name. */
  files: v.record(v.string(), digest),
  signer: v.pipe(v.string(), v.check(isSignerId)),
  signed: instant,
  /** By the key of that host, over everything else here. */
  signature: base64(64),
})

/** Files in a repository's root with the SHA-256 that a host has signed. */
export type SignedFiles = Readonly<Record<string, string>>

/** Whether a host has signed any set of these files yet, by the names alone. */
export async function hasSigned({ storage }: Repository, signer: string): Promise<boolean> {
  return (await storage.list(recoveryDirectory)).some(({ name }) => name.startsWith(`${signer}-`))
}

/** Writes a host's word for the root's own files; each set of files has a name of its own, so nothing is ever replaced. */
export async function writeRecoverySignature(
  { storage, id }: Repository,
  files: SignedFiles,
  { id: signer, sign }: Signer,
  now: Date,
): Promise<void> {
  const document = { format: 1, repository: id, files, signer, signed: now.toISOString() }
  const signature = sign(textOf(document)).toString('base64')
  const set = createHash('sha256').update(canonicalJson(files)).digest('hex').slice(0, 16)
  try {
    await storage.writeOnce(`${recoveryDirectory}/${signer}-${set}.json`, formatKeyDocument({ ...document, signature }))
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'exists') throw error
  }
}

/** What hosts that count here have signed of the root's files. What is damaged, or a stranger's, says nothing. */
export async function trustedFiles(repository: Repository, keyring: Keyring): Promise<SignedFiles[]> {
  const { storage, id } = repository
  const trusted: SignedFiles[] = []
  for (const { name } of await storage.list(recoveryDirectory)) {
    const document = name.endsWith('.json') ? await readOne(storage, `${recoveryDirectory}/${name}`) : undefined
    if (document?.repository !== id) continue
    const { signature, ...rest } = document
    const isOurs = await keyring.countsAnywhere(
      document.signer,
      ({ signing_key: key }) => isSigned(key, textOf(rest), signature),
      () => repository.sources(),
    )
    if (isOurs) trusted.push(document.files)
  }
  return trusted
}

/** Whether a host that counts has signed nexus-backup.json with another digest: it never changes. */
export function differsFromSigned(trusted: readonly SignedFiles[], actual: string): boolean {
  const signed = trusted.flatMap(files => files[repositoryFile] ?? [])
  return signed.length > 0 && !signed.includes(actual)
}

async function readOne(storage: Storage, name: string): Promise<v.InferOutput<typeof schema> | undefined> {
  try {
    return parseKeyDocument(schema, await storage.readSmall(name, keyFileLimit), name)
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'damage' || error.kind === 'not-found')) return undefined
    throw error
  }
}

function textOf(document: object): string {
  return `nexus-backup 1 recovery ${canonicalJson(document)}`
}
