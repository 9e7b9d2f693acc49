import { isUtf8 } from 'node:buffer'
import { randomBytes, scrypt } from 'node:crypto'
import { promisify } from 'node:util'
import { NexusError } from '../errors.js'
import { KEY_BYTES } from './derive.js'

/** What scrypt (RFC 7914) was told; kept beside what it protects. */
export interface ScryptCost {
  /** log2 of N. */
  log_n: number
  r: number
  p: number
}

/** Takes about half a second and 128 MiB here; the memory is what a machine of guesses has to buy. */
export const defaultCost: ScryptCost = { log_n: 17, r: 8, p: 1 }
/** What is read from outside must not exhaust this machine: at most 1 GiB, and no more than some seconds. */
const MOST_BYTES = 1024 * 1024 * 1024
const LEAST_LOG_N = 14
const LEAST_LENGTH = 8

/** Whether stored costs are worth their name and bearable. */
export function isBearable({ log_n: logN, r, p }: ScryptCost): boolean {
  const counts = [logN, r, p].every(value => Number.isInteger(value) && value >= 1)
  return counts && logN >= LEAST_LOG_N && logN <= 24 && r <= 32 && p <= 8 && 128 * r * 2 ** logN <= MOST_BYTES
}

export function newSalt(): Buffer {
  return randomBytes(16)
}

/** The key that a passphrase gives. */
export async function passphraseKey(passphrase: string, salt: Uint8Array, cost: ScryptCost): Promise<Buffer> {
  const { log_n: logN, r, p } = cost
  const run = promisify<string, Uint8Array, number, object, Buffer>(scrypt)
  return run(passphrase.normalize('NFC'), salt, KEY_BYTES, { N: 2 ** logN, r, p, maxmem: 2 * MOST_BYTES })
}

/** A passphrase as a file or a program gives it. @throws NexusError configuration, as `passphraseOf` */
export function passphraseIn(bytes: Uint8Array, where: string): string {
  if (isUtf8(bytes)) return passphraseOf(Buffer.from(bytes).toString('utf8'), where)
  // Decoded anyway, every byte that is none becomes the same letter: other files would open the repository too.
  throw new NexusError('configuration', 'passphrase_invalid', `no passphrase in ${where}: it is not UTF-8 text`, {
    hint: 'write it as one line of text; random bytes as base64: openssl rand -base64 32',
  })
}

/** A passphrase as a file, a program or a terminal gives it: the line break at its end is not part of it. */
export function passphraseOf(text: string, where: string): string {
  const passphrase = text.replace(/\r?\n$/, '')
  if (passphrase !== '' && !/[\r\n\0]/.test(passphrase)) return passphrase
  const why = passphrase === '' ? 'it is empty' : 'it has more than one line'
  throw new NexusError('configuration', 'passphrase_invalid', `no passphrase in ${where}: ${why}`, {
    hint: 'write it as one line',
  })
}

/** Refuses what can be guessed in an afternoon. @throws NexusError usage */
export function assertWorthy(passphrase: string): void {
  if ([...passphrase].length >= LEAST_LENGTH) return
  throw new NexusError('usage', 'passphrase_short', `a passphrase needs at least ${LEAST_LENGTH} characters`, {
    hint: 'six random words are easy to write down and hard to guess',
  })
}
