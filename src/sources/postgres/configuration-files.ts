import { lstatSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { messageOf } from '../../errors.js'
import { recoverySettingsFile } from './recovery-settings.js'

/** Bytes of all files together that go into a manifest. */
const MAX_BYTES = 256 * 1024

/** A server's configuration file as it was. */
export interface ConfigurationFile {
  path: string
  text: string
}

/**
 * Reads the configuration files that a base backup does not hold: those outside the data directory (Debian keeps them in
 * /etc/postgresql), and symbolic links in it, which the server skips. WAL never brings them back (anchors/postgres.md 2.3).
 *
 * @param read reads a file of so many bytes at most, as the server's user may: the server names them, and some are root's
 *   alone; null where the server runs on another machine, whose paths mean nothing here
 */
export async function readConfigurationFiles(
  paths: readonly string[],
  dataDirectory: string,
  read: ((path: string, most: number) => Promise<Buffer>) | null,
): Promise<{ files: ConfigurationFile[]; warnings: string[] }> {
  const outside = paths.filter(path => {
    // A recovered server names it until it is started again, and has removed it.
    if (path === join(dataDirectory, recoverySettingsFile)) return false
    return !isInside(path, dataDirectory) || (read !== null && isLink(path))
  })
  const files: ConfigurationFile[] = []
  const warnings: string[] = []
  const leftOut = (path: string, why: string) => warnings.push(`${path} is not in the backup: ${why}`)
  let room = MAX_BYTES
  for (const path of outside) {
    if (read === null) {
      leftOut(path, 'it lies outside the data directory, on another machine')
      continue
    }
    try {
      const { size } = statSync(path)
      if (size > room) {
        leftOut(path, `configuration outside the data directory is kept up to ${MAX_BYTES / 1024} KiB`)
        continue
      }
      const text = (await read(path, room)).toString('utf8')
      files.push({ path, text })
      room -= size
    } catch (error) {
      leftOut(path, messageOf(error))
    }
  }
  return { files, warnings }
}

function isInside(path: string, directory: string): boolean {
  const way = relative(directory, path)
  return way !== '' && way !== '..' && !way.startsWith('../') && !way.startsWith('/')
}

function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink()
  } catch {
    // Reading it will tell why.
    return true
  }
}
