import { closeSync, constants } from 'node:fs'
import { type Attributes, readAttributes } from '../../system/attributes.js'
import { shown } from '../../system/file-names.js'
import { liesAt, openQuietly } from './open-file.js'
import type { Remarks } from './remarks.js'

/** A line of the list of entries has no room for more, in characters of JSON. */
const MOST = 128 * 1024

const FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** Attributes of an open file; what cannot be kept of them is a problem. */
export function fileAttributes(fd: number, location: string, remarks: Remarks): Attributes | undefined {
  const attributes = readAttributes(fd, problem => remarks.problem(`${shown(location)}: ${problem}`))
  if (attributes === undefined || JSON.stringify(attributes).length <= MOST) return attributes
  remarks.problem(`${shown(location)}: its attributes are left out, which are larger than can be kept`)
  return undefined
}

/** Attributes of a directory. One that cannot be opened could not be listed, which was told. */
export function directoryAttributes(location: string, remarks: Remarks): Attributes | undefined {
  let fd: number
  try {
    fd = openQuietly(location, FLAGS)
  } catch {
    return undefined
  }
  try {
    return liesAt(fd, location) ? fileAttributes(fd, location, remarks) : undefined
  } finally {
    closeSync(fd)
  }
}
