import { lstatSync, readFileSync, statSync } from 'node:fs'
import { relative } from 'node:path'
import { messageOf } from '../../errors.js'

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
 * @param here whether the server runs on this machine; elsewhere its paths mean nothing to us
 */
export function readConfigurationFiles(
  paths: readonly string[],
  dataDirectory: string,
  here: boolean,
): { files: ConfigurationFile[]; warnings: string[] } {
  const outside = paths.filter(path => !isInside(path, dataDirectory) || (here && isLink(path)))
  const files: ConfigurationFile[] = []
  const warnings: string[] = []
  const leftOut = (path: string, why: string) => warnings.push(`${path} is not in the backup: ${why}`)
  let room = MAX_BYTES
  for (const path of outside) {
    if (!here) {
      leftOut(path, 'it lies outside the data directory, on another machine')
      continue
    }
    try {
      const { size } = statSync(path)
      if (size > room) leftOut(path, `configuration outside the data directory is kept up to ${MAX_BYTES / 1024} KiB`)
      else files.push({ path, text: readFileSync(path, 'utf8') })
      if (size <= room) room -= size
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
