import { resolve } from 'node:path'
import { nearest } from '../config/nearest.js'
import { NexusError } from '../errors.js'
import type { RecipientSettings } from '../keys/recipient.js'

const kinds = ['key-file', 'passphrase-file', 'passphrase', 'gpg', 'aws-kms'] as const

/** `key-file=FILE`, `gpg=FINGERPRINT` … as a recipient. @throws NexusError usage */
export function recipientFrom(text: string, cwd: string): RecipientSettings {
  const at = text.indexOf('=')
  const [kind, value] = at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)]
  if (kind === 'passphrase' && at < 0) return { kind, passphrase: { from: 'terminal' } }
  // What follows may be a secret pasted in the wrong place: it is not repeated.
  if (kind === 'passphrase') throw invalid(kind, 'a passphrase is asked for, or read with passphrase-file=FILE')
  if (kind === 'key-file' && value !== '') return { kind, path: resolve(cwd, value) }
  if (kind === 'passphrase-file' && value !== '') {
    return { kind: 'passphrase', passphrase: { from: 'file', path: resolve(cwd, value) } }
  }
  if (kind === 'gpg') {
    const fingerprint = value.replaceAll(' ', '').toUpperCase()
    if (/^(?:[0-9A-F]{40}|[0-9A-F]{64})$/.test(fingerprint)) return { kind, fingerprint }
    throw invalid(kind, 'give the whole fingerprint, 40 hexadecimal digits: gpg --list-keys')
  }
  if (kind === 'aws-kms' && /^arn:[a-z0-9-]+:kms:/.test(value)) return { kind, key: value }
  const known = kinds.some(candidate => candidate === kind)
  const meant = known ? undefined : nearest(kind, kinds)
  throw invalid(
    known ? kind : 'RECIPIENT',
    meant === undefined
      ? 'give key-file=FILE, passphrase-file=FILE, passphrase, gpg=FINGERPRINT or aws-kms=ARN'
      : `did you mean ${meant}?`,
  )
}

function invalid(what: string, hint: string): NexusError {
  return new NexusError('usage', 'invalid_value', `${what}: not a recipient`, { hint })
}
