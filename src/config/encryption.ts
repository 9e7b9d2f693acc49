import * as v from 'valibot'
import type { PassphraseSource, RecipientSettings } from '../keys/recipient.js'
import { formatDuration } from './duration.js'
import { absolutePath, duration, mapping } from './schema.js'
import { defaultMaxKeyAge, type EncryptionSettings } from './settings.js'

const fingerprint = v.pipe(
  v.string('must be the fingerprint of a GPG key'),
  v.transform(text => text.replaceAll(' ', '').toUpperCase()),
  v.regex(/^(?:[0-9A-F]{40}|[0-9A-F]{64})$/, 'must be a whole fingerprint, 40 hexadecimal digits: gpg --list-keys'),
)
const arn = v.pipe(
  v.string('must be the ARN of a KMS key'),
  v.regex(/^arn:[a-z0-9-]+:kms:[a-z0-9-]+:\d{12}:(?:key|alias)\/[A-Za-z0-9/_-]+$/, 'must be the ARN of a KMS key'),
)
const credential = v.pipe(
  v.string('must be the name of a systemd credential'),
  v.regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/, 'must be the name of a systemd credential'),
)
const words = 'must be a list: a program, then its arguments'
const command = v.pipe(v.array(v.pipe(v.string(words), v.minLength(1, words)), words), v.minLength(1, words))

/** A recipient has one of these. */
export const recipientKeys = {
  key_file: v.optional(absolutePath),
  passphrase_file: v.optional(absolutePath),
  passphrase_command: v.optional(command),
  passphrase_credential: v.optional(credential),
  gpg: v.optional(fingerprint),
  aws_kms: v.optional(arn),
}
const oneKey = `must have one of: ${Object.keys(recipientKeys).join(', ')}`

const recipientSchema = v.pipe(
  mapping(recipientKeys),
  v.check(value => Object.values(value).filter(entry => entry !== undefined).length === 1, oneKey),
)

const listMessage = 'must be a list of those who can open the repository'

/** Who can open a repository; the private keys themselves never stand here. */
export const encryptionSchema = mapping({
  recipients: v.pipe(v.array(recipientSchema, listMessage), v.minLength(1, listMessage)),
  max_key_age: v.optional(duration),
})

export type EncryptionDocument = v.InferOutput<typeof encryptionSchema>

export function encryptionOf({ recipients, max_key_age: maxKeyAge }: EncryptionDocument): EncryptionSettings {
  return { recipients: recipients.map(recipientOf), maxKeyAge: maxKeyAge ?? defaultMaxKeyAge }
}

function recipientOf(value: EncryptionDocument['recipients'][number]): RecipientSettings {
  if (value.key_file !== undefined) return { kind: 'key-file', path: value.key_file }
  if (value.gpg !== undefined) return { kind: 'gpg', fingerprint: value.gpg }
  if (value.aws_kms !== undefined) return { kind: 'aws-kms', key: value.aws_kms }
  return { kind: 'passphrase', passphrase: sourceOf(value) }
}

function sourceOf(value: EncryptionDocument['recipients'][number]): PassphraseSource {
  if (value.passphrase_command !== undefined) return { from: 'command', command: value.passphrase_command }
  if (value.passphrase_credential !== undefined) return { from: 'credential', name: value.passphrase_credential }
  return { from: 'file', path: value.passphrase_file ?? '' }
}

/** What `--key-file` and `--passphrase-file` ask for; undefined where neither is given. */
export function encryptionFromFlags(flags: {
  keyFile: string | undefined
  passphraseFile: string | undefined
}): EncryptionSettings | undefined {
  const recipients: RecipientSettings[] = []
  if (flags.keyFile !== undefined) recipients.push({ kind: 'key-file', path: flags.keyFile })
  if (flags.passphraseFile !== undefined) {
    recipients.push({ kind: 'passphrase', passphrase: { from: 'file', path: flags.passphraseFile } })
  }
  return recipients.length === 0 ? undefined : { recipients, maxKeyAge: defaultMaxKeyAge }
}

/** Settings in the form of a configuration. */
export function describeEncryption({ recipients, maxKeyAge }: EncryptionSettings): Record<string, unknown> {
  return { recipients: recipients.map(describeRecipient), max_key_age: formatDuration(maxKeyAge) }
}

function describeRecipient(settings: RecipientSettings): Record<string, unknown> {
  if (settings.kind === 'key-file') return { key_file: settings.path }
  if (settings.kind === 'gpg') return { gpg: settings.fingerprint }
  if (settings.kind === 'aws-kms') return { aws_kms: settings.key }
  const source = settings.passphrase
  if (source.from === 'command') return { passphrase_command: [...source.command] }
  return source.from === 'credential'
    ? { passphrase_credential: source.name }
    : { passphrase_file: source.from === 'file' ? source.path : '' }
}
