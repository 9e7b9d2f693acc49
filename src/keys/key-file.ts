import { randomBytes } from 'node:crypto'
import { closeSync, fstatSync, fsyncSync, lstatSync, openSync, rmSync, type Stats, writeSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { errnoOf, messageOf, NexusError } from '../errors.js'
import { derivedName } from '../system/derived-name.js'
import { exchanged, type HeldDirectory, sameFile, whileHeld } from '../system/held-directory.js'
import { nameExists } from '../system/names.js'
import { putOnce } from '../system/put-once.js'
import { splitPath, trustedPath } from '../system/trusted-path.js'
import { KEY_BYTES, secretName } from './derive.js'
import { readSecretFile } from './secret-file.js'

const prefix = 'NEXUS-BACKUP-KEY-1-'
const line = new RegExp(`^${prefix}([A-Za-z0-9_-]{43})$`)

/** The text of a key file: comments, then the key in one line that survives being printed and typed in again. */
export function formatKeyFile(key: Uint8Array, created: Date): string {
  const name = secretName(key)
  return [
    `# nexus-backup key ${name}, made ${created.toISOString()}`,
    '# Whoever has this file can read the backups; without it, or another recipient, nobody can.',
    `${prefix}${Buffer.from(key).toString('base64url')}`,
    '',
  ].join('\n')
}

/**
 * Makes a new key file, 0600: whole and durable, or not at all. Returns its name. Its directory is held: another user who
 * may write there leads neither the key nor what is named to another place.
 *
 * @throws NexusError usage when the file exists, failed, `refused` (`link_of_another_user`, `directory_exchanged`)
 */
export function createKeyFile(path: string, now: Date): string {
  const key = randomBytes(KEY_BYTES)
  const { directory, name } = splitPath(resolve(path))
  try {
    whileHeld(trustedPath(directory), held => writeOnce(held, name, formatKeyFile(key, now)))
    return secretName(key)
  } catch (error) {
    if (error instanceof NexusError) throw error
    if (errnoOf(error) === 'EEXIST') {
      throw new NexusError('usage', 'key_file_exists', `${path} already exists and is never overwritten`, {
        hint: 'choose another path: overwriting a key would lose everything that only it opens',
      })
    }
    throw new NexusError('failed', 'key_file_not_written', `cannot write ${path}: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

/** On a USB stick without hard links too. */
function writeOnce(directory: HeldDirectory, name: string, text: string): void {
  const draft = directory.at(derivedName(name, { suffix: `.new-${randomBytes(4).toString('hex')}` }))
  const final = directory.at(name)
  try {
    if (nameExists(final)) throw taken()
    const written = writeSynced(draft, text)
    if (!putOnce(draft, final)) throw taken()
    if (!sameFile(written, lstatSync(final))) throw exchanged(join(directory.path, name))
  } catch (error) {
    directory.nameIn(error)
    throw error
  } finally {
    rmSync(draft, { force: true })
    fsyncSync(directory.fd)
  }
}

function taken(): Error {
  return Object.assign(new Error('it exists'), { code: 'EEXIST' })
}

function writeSynced(path: string, text: string): Stats {
  const descriptor = openSync(path, 'wx', 0o600)
  try {
    writeSync(descriptor, text)
    fsyncSync(descriptor)
    return fstatSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** The key in a key file. @throws NexusError refused when others can read it, configuration when it is none */
export function readKeyFile(path: string): Buffer {
  const text = readSecretFile(path, 'key file').toString('utf8')
  const keys = text
    .split(/\r?\n/)
    .map(row => row.trim())
    .filter(row => row !== '' && !row.startsWith('#'))
  const [, encoded] = line.exec(keys[0] ?? '') ?? []
  if (encoded !== undefined && keys.length === 1) {
    const key = Buffer.from(encoded, 'base64url')
    if (key.toString('base64url') === encoded) return key
  }
  // What the file holds may be a secret of another kind: it is never quoted.
  throw new NexusError('configuration', 'key_file_invalid', `${path} is not a key file of nexus-backup`, {
    hint: 'make one with: nexus-backup keys create FILE',
  })
}
