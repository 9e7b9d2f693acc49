import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { errnoOf, messageOf, NexusError } from '../errors.js'
import type { ConfigurationProblem } from './problems.js'
import { readDocument } from './read-document.js'
import { type ConfigurationDocument, validateDocument } from './validate.js'

const sizeLimit = 1024 * 1024

/** A configuration file, read and checked. */
export interface CheckedFile {
  file: string
  settings: ConfigurationDocument
  problems: ConfigurationProblem[]
  /** Things that are allowed but unwise. */
  warnings: string[]
}

/** Reads and checks a configuration file. Throws `configuration` when it cannot be read at all. */
export function checkFile(file: string, uid: number): CheckedFile {
  const { text, warnings } = readText(file, uid)
  const reading = readDocument(text)
  if (!reading.ok) {
    const empty = { timezone: undefined, state: undefined, repositories: [], sources: [] }
    return { file, settings: empty, problems: reading.problems, warnings }
  }
  return { file, ...validateDocument(reading.value, reading.document), warnings }
}

/** All mistakes of a file as one error, a line for each. */
export function invalidConfiguration(file: string, problems: readonly ConfigurationProblem[]): NexusError {
  const lines = problems.map(({ line, key, message }) => {
    const place = line === null ? '' : `line ${line}: `
    return `  ${place}${key === '' ? '' : `${key}: `}${message}`
  })
  const count = problems.length === 1 ? 'a mistake' : `${problems.length} mistakes`
  return new NexusError('configuration', 'configuration_invalid', [`${file}: ${count}`, ...lines].join('\n'), {
    hint: `correct it, then try 'nexus-backup config check --config ${file}'; nexus-backup-config(5) describes every key`,
  })
}

function readText(file: string, uid: number): { text: string; warnings: string[] } {
  try {
    const descriptor = openSync(file, 'r')
    try {
      const status = fstatSync(descriptor)
      if (status.isDirectory()) throw unreadable(file, 'it is a directory')
      const buffer = Buffer.alloc(sizeLimit + 1)
      let length = 0
      for (let read = -1; read !== 0 && length < buffer.length; length += read) {
        read = readSync(descriptor, buffer, length, buffer.length - length, null)
      }
      if (length > sizeLimit) throw unreadable(file, 'it is larger than 1 MiB')
      return { text: buffer.toString('utf8', 0, length), warnings: status.isFile() ? ownership(file, status, uid) : [] }
    } finally {
      closeSync(descriptor)
    }
  } catch (error) {
    if (error instanceof NexusError) throw error
    throw unreadable(file, errnoOf(error) === 'ENOENT' ? 'no such file' : messageOf(error), error)
  }
}

function unreadable(file: string, why: string, cause?: unknown): NexusError {
  return new NexusError('configuration', 'configuration_unreadable', `cannot read the configuration ${file}: ${why}`, {
    hint: `name another one with --config, or give --sqlite FILE --repo DIR instead`,
    cause,
  })
}

/** Whoever may write the file decides what root's next run does. */
function ownership(file: string, status: { mode: number; uid: number; gid: number }, uid: number): string[] {
  const byOthers = (status.mode & 0o002) !== 0 || ((status.mode & 0o020) !== 0 && status.gid !== 0)
  const foreign = status.uid !== 0 && status.uid !== uid
  if (!byOthers && !foreign) return []
  const who = foreign ? `user ${status.uid}, who owns it` : 'other users'
  return [`configuration ${file} can be changed by ${who}; 'chown root:root' and 'chmod go-w' make it safe`]
}
