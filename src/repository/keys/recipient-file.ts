import * as v from 'valibot'
import { derivedKey, macOf } from '../../keys/derive.js'
import { recipientKinds, type Wrapped } from '../../keys/recipient.js'
import { canonicalJson } from '../json.js'
import { base64, formatKeyDocument, instant, keysDamaged, parseKeyDocument, shortText } from './key-document.js'
import { isEpochId, isRecipientId, recipientFile } from './key-layout.js'

const recipientSchema = v.looseObject({
  format: v.literal(1),
  epoch: v.pipe(v.string(), v.check(isEpochId)),
  id: v.pipe(v.string(), v.check(isRecipientId)),
  kind: v.picklist(recipientKinds),
  /** A name for people. */
  label: v.nullable(shortText),
  /** When it was first let in: a rotation does not make a key younger. */
  since: instant,
  /** When this wrap was made. */
  added: instant,
  parameters: v.record(v.string(), v.union([shortText, v.number()])),
  /** The epoch's secret, as this kind wraps it. */
  secret: base64(1, 32 * 1024),
  /** By a key of the epoch's secret, over everything else: whoever may only write can enter nobody. */
  mac: v.optional(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))),
})

/** One who can open an epoch, as `keys/EPOCH/recipients/ID.json` has it. */
export type RecipientDocument = v.InferOutput<typeof recipientSchema>

export function formatRecipient(
  epoch: string,
  wrapped: Wrapped,
  known: { label: string | null; since: Date; added: Date },
  epochSecret: Uint8Array,
): Buffer {
  const { id, kind, parameters, secret } = wrapped
  const document = {
    format: 1,
    epoch,
    id,
    kind,
    label: known.label,
    since: known.since.toISOString(),
    added: known.added.toISOString(),
    parameters,
    secret: secret.toString('base64'),
  }
  return formatKeyDocument({ ...document, mac: entryMac(document, epoch, epochSecret) })
}

/** Whether a recipient was entered by somebody who opens the epoch. */
export function isLetIn({ mac, secret, ...rest }: RecipientDocument, epochSecret: Uint8Array): boolean {
  return mac === entryMac({ ...rest, secret: secret.toString('base64') }, rest.epoch, epochSecret)
}

function entryMac(document: object, epoch: string, epochSecret: Uint8Array): string {
  return macOf(derivedKey(epochSecret, epoch, 'recipient'), `nexus-backup 1 recipient ${canonicalJson(document)}`)
}

/** @throws NexusError damage */
export function parseRecipient(bytes: Uint8Array, epoch: string, id: string): RecipientDocument {
  const name = recipientFile(epoch, id)
  const document = parseKeyDocument(recipientSchema, bytes, name)
  if (document.epoch !== epoch || document.id !== id) throw keysDamaged(name, 'it is another recipient')
  return document
}
