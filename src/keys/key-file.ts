import { randomBytes } from 'node:crypto'
import { closeSync, constants, existsSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { errnoOf, messageOf, NexusError } from '../errors.js'
import { derivedName } from '../system/derived-name.js'
import { putOnce } from '../system/put-once.js'
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
 * Makes a new key file, 0600: whole and durable, or not at all. Returns its name.
 * @throws NexusError usage when the file exists, failed
 */
export function createKeyFile(path: string, now: Date): string {
  const key = randomBytes(KEY_BYTES)
  const draft = join(dirname(path), derivedName(basename(path), { suffix: `.new-${randomBytes(4).toString('hex')}` }))
  try {
    if (existsSync(path)) throw Object.assign(new Error('it exists'), { code: 'EEXIST' })
    writeSynced(draft, formatKeyFile(key, now))
    // Durably, and on a USB stick without hard links too.
    if (!putOnce(draft, path)) throw Object.assign(new Error('it exists'), { code: 'EEXIST' })
    syncDirectoryOf(path)
    return secretName(key)
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') {
      throw new NexusError('usage', 'key_file_exists', `${path} already exists and is never overwritten`, {
        hint: 'choose another path: overwriting a key would lose everything that only it opens',
      })
    }
    throw new NexusError('failed', 'key_file_not_written', `cannot write ${path}: ${messageOf(error)}`, {
      cause: error,
    })
  } finally {
    rmSync(draft, { force: true })
  }
}

function syncDirectoryOf(path: string): void {
  const directory = openSync(dirname(path), constants.O_RDONLY)
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}

function writeSynced(path: string, text: string): void {
  const descriptor = openSync(path, 'wx', 0o600)
  try {
    writeSync(descriptor, text)
    fsyncSync(descriptor)
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
