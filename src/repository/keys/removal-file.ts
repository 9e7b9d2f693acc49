import { createHash } from 'node:crypto'
import * as v from 'valibot'
import { NexusError } from '../../errors.js'
import { type EpochPrivate, isSigned } from '../../keys/epoch-keys.js'
import { canonicalJson } from '../json.js'
import type { Storage } from '../storage/storage.js'
import type { Epoch } from './epoch.js'
import { base64, formatKeyDocument, instant, parseKeyDocument } from './key-document.js'
import { isEpochId, isRecipientId, keyFileLimit, removalFile } from './key-layout.js'

const removalSchema = v.looseObject({
  format: v.literal(1),
  epoch: v.pipe(v.string(), v.check(isEpochId)),
  id: v.pipe(v.string(), v.check(isRecipientId)),
  /** SHA-256 of the recipient's file: one who is let in again has another. */
  wrap: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  removed: instant,
  /** The epoch's, over everything else here: nobody else can say that a recipient was taken out. */
  signature: base64(64),
})

/** A recipient's file in an epoch: what it is called, and what stands in it. */
export interface Wrap {
  epoch: string
  id: string
  bytes: Uint8Array
}

/**
 * The word of an epoch that a recipient was taken out: hosts that remember him do not take it for a loss.
 * @returns name and bytes
 */
export function formatRemoval(
  { epoch, id, bytes }: Wrap,
  keys: EpochPrivate,
  now: Date,
): { name: string; bytes: Buffer } {
  const wrap = digestOf(bytes)
  const document = { format: 1, epoch, id, wrap, removed: now.toISOString() }
  const signature = keys.sign(textOf(document)).toString('base64')
  return { name: removalFile(epoch, id, wrap), bytes: formatKeyDocument({ ...document, signature }) }
}

/** Whether an epoch's holders have taken a recipient out, and did not let him in again since. What is damaged says nothing. */
export async function isRemoved(
  storage: Storage,
  { epoch, id, bytes }: Wrap,
  { signing_key: key }: Epoch,
): Promise<boolean> {
  const wrap = digestOf(bytes)
  const name = removalFile(epoch, id, wrap)
  try {
    const { signature, ...document } = parseKeyDocument(
      removalSchema,
      await storage.readSmall(name, keyFileLimit),
      name,
    )
    const isMeant = document.epoch === epoch && document.id === id && document.wrap === wrap
    return isMeant && isSigned(key, textOf(document), signature)
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'not-found' || error.kind === 'damage')) return false
    throw error
  }
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function textOf(document: object): string {
  return `nexus-backup 1 removal ${canonicalJson(document)}`
}
