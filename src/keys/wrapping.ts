import { createHash, randomBytes } from 'node:crypto'
import { NexusError } from '../errors.js'
import { box, unbox } from './box.js'
import { derivedKey, secretName } from './derive.js'
import { readKeyFile } from './key-file.js'
import { assertWorthy, defaultCost, isBearable, newSalt, passphraseKey } from './passphrase.js'
import { readPassphrase } from './read-passphrase.js'
import type { KeyTools, RecipientSettings, Wrapped } from './recipient.js'

/** What a wrapped secret is bound to, whatever wraps it. */
function boundTo(epoch: string, id: string): string {
  return `nexus-backup 1 wrapped ${epoch} ${id}`
}

/**
 * Wraps an epoch's secret for one recipient.
 * @param known the name it has already, where it cannot be told from the recipient itself (a passphrase)
 * @throws NexusError when the recipient cannot be reached
 */
export async function wrapFor(
  recipient: RecipientSettings,
  epoch: string,
  secret: Uint8Array,
  tools: KeyTools,
  known?: string,
): Promise<Wrapped> {
  switch (recipient.kind) {
    case 'key-file': {
      const key = readKeyFile(recipient.path)
      const id = `key-${secretName(key)}`
      const salt = newSalt()
      const wrapped = box(derivedKey(key, salt, 'key file'), secret, boundTo(epoch, id))
      return { kind: recipient.kind, id, parameters: { salt: salt.toString('base64') }, secret: wrapped }
    }
    case 'passphrase': {
      const passphrase = await readPassphrase(recipient.passphrase, tools, { isNew: known === undefined })
      assertWorthy(passphrase)
      const id = known ?? `pass-${randomBytes(4).toString('hex')}`
      const salt = newSalt()
      const wrapped = box(await passphraseKey(passphrase, salt, defaultCost), secret, boundTo(epoch, id))
      const parameters = { salt: salt.toString('base64'), ...defaultCost }
      return { kind: recipient.kind, id, parameters, secret: wrapped }
    }
    case 'gpg': {
      const { gpgEncrypt } = await import('./gpg.js')
      const { fingerprint } = recipient
      const id = `gpg-${fingerprint.slice(-16).toLowerCase()}`
      const message = Buffer.from(`${boundTo(epoch, id)} ${Buffer.from(secret).toString('base64')}\n`)
      return {
        kind: recipient.kind,
        id,
        parameters: { fingerprint },
        secret: await gpgEncrypt(fingerprint, message, tools),
      }
    }
    case 'aws-kms': {
      const { kmsEncrypt } = await import('./aws-kms.js')
      const { key } = recipient
      const id = `kms-${createHash('sha256').update(key).digest('hex').slice(0, 8)}`
      return { kind: recipient.kind, id, parameters: { key }, secret: await kmsEncrypt(key, epoch, secret) }
    }
  }
}

/** Why a recipient did not open what was wrapped for it, or the secret. */
export type Unwrapped = { secret: Buffer } | { problem: string }

/**
 * Opens a wrapped secret with what settings name.
 * @returns undefined when it was plainly not wrapped for them: another kind, another key file, another key
 * @throws NexusError when the settings themselves are no good: no such file, one that others can read
 */
export async function unwrapWith(
  recipient: RecipientSettings,
  epoch: string,
  wrapped: Wrapped,
  tools: KeyTools,
): Promise<Unwrapped | undefined> {
  const { id, parameters } = wrapped
  if (recipient.kind !== wrapped.kind) return undefined
  switch (recipient.kind) {
    case 'key-file': {
      const key = readKeyFile(recipient.path)
      if (id !== `key-${secretName(key)}`) return undefined
      const kek = derivedKey(key, Buffer.from(String(parameters.salt), 'base64'), 'key file')
      return opened(unbox(kek, wrapped.secret, boundTo(epoch, id)), 'it was changed')
    }
    case 'passphrase': {
      const passphrase = await readPassphrase(recipient.passphrase, tools)
      const cost = { log_n: Number(parameters.log_n), r: Number(parameters.r), p: Number(parameters.p) }
      if (!isBearable(cost)) throw unbearable(id)
      const kek = await passphraseKey(passphrase, Buffer.from(String(parameters.salt), 'base64'), cost)
      return opened(unbox(kek, wrapped.secret, boundTo(epoch, id)), 'the passphrase is another one')
    }
    case 'gpg': {
      if (parameters.fingerprint !== recipient.fingerprint) return undefined
      const { gpgDecrypt } = await import('./gpg.js')
      const answer = await gpgDecrypt(wrapped.secret, tools)
      if ('problem' in answer) return answer
      const [, encoded] = answer.output.toString('utf8').split(`${boundTo(epoch, id)} `)
      return opened(encoded === undefined ? undefined : Buffer.from(encoded, 'base64'), 'it is that of another epoch')
    }
    case 'aws-kms': {
      if (parameters.key !== recipient.key) return undefined
      const { kmsDecrypt } = await import('./aws-kms.js')
      const answer = await kmsDecrypt(recipient.key, epoch, wrapped.secret)
      return 'problem' in answer ? answer : { secret: answer.output }
    }
  }
}

function opened(secret: Buffer | undefined, problem: string): Unwrapped {
  return secret === undefined ? { problem } : { secret }
}

function unbearable(id: string): NexusError {
  return new NexusError('damage', 'recipient_damaged', `recipient ${id} asks for impossible work of scrypt`, {
    hint: 'find out who changed it: nexus-backup keys list; another recipient still opens the repository',
  })
}
