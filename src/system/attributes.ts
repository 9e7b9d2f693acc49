import { errnoOf, messageOf } from '../errors.js'
import { nativeExtensions } from './native-extensions.js'

/** Extended attributes (xattr(7)) of an open file or directory: values in base64, by name. */
export type Attributes = Readonly<Record<string, string>>

export const ACCESS_ACL = 'system.posix_acl_access'
export const DEFAULT_ACL = 'system.posix_acl_default'
const ACLS: readonly string[] = [ACCESS_ACL, DEFAULT_ACL]

/** What belongs to a file wherever it lies; labels of security modules and attributes of file systems do not. */
const KEPT = /^(user\.|trusted\.(?!overlay\.)|security\.capability$|system\.posix_acl_(access|default)$)/s

const UNSUPPORTED: readonly string[] = ['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']

/** Whether attributes can be read and written on this machine. */
export function hasAttributes(): boolean {
  return nativeExtensions() !== null
}

/**
 * What is kept of an open file's attributes; undefined where it has none. Only root sees those of `trusted.`.
 *
 * @param fd opened for reading
 * @param problem is told each one that cannot be kept, as the end of a sentence
 */
export function readAttributes(fd: number, problem: (message: string) => void): Attributes | undefined {
  const attributes: Record<string, string> = {}
  for (const name of listed(fd, problem)) {
    if (!KEPT.test(name)) continue
    try {
      // A name that is not UTF-8 comes back changed, and there is none of that name.
      const value = nativeExtensions()?.getAttrSync(fd, name) ?? null
      if (value !== null) attributes[name] = Buffer.from(value).toString('base64')
      else if (name.includes('\ufffd')) problem(`its attribute ${JSON.stringify(name)} cannot be kept: no UTF-8`)
    } catch (error) {
      problem(`its attribute ${JSON.stringify(name)} cannot be read: ${messageOf(error)}`)
    }
  }
  return Object.keys(attributes).length === 0 ? undefined : attributes
}

/**
 * Gives a new file or directory its attributes. An ACL that it has inherited from the directory around it goes.
 *
 * @param fd opened for reading
 * @returns what could not be set, each as the end of a sentence
 */
export function writeAttributes(fd: number, attributes: Attributes = {}): string[] {
  const native = nativeExtensions()
  const wanted = Object.entries(attributes)
  if (native === null)
    return wanted.map(([name]) => `its attribute ${JSON.stringify(name)} cannot be set on this machine`)
  const problems: string[] = []
  const attempt = (name: string, work: () => void) => {
    try {
      work()
    } catch (error) {
      const none = UNSUPPORTED.includes(errnoOf(error) ?? '')
      const why = none ? 'the file system keeps none of this kind' : `${errnoOf(error)}, ${messageOf(error)}`
      problems.push(`its attribute ${JSON.stringify(name)} cannot be set: ${why}`)
    }
  }
  for (const name of listed(fd, () => {})) {
    if (ACLS.includes(name) && attributes[name] === undefined) attempt(name, () => native.removeAttrSync(fd, name))
  }
  for (const [name, base64] of wanted) {
    const { buffer, byteOffset, byteLength } = Buffer.from(base64, 'base64')
    attempt(name, () => native.setAttrSync(fd, name, buffer, byteOffset, byteLength))
  }
  return problems
}

/** A file system without attributes has none. */
function listed(fd: number, problem: (message: string) => void): string[] {
  try {
    return nativeExtensions()?.listAttrsSync(fd) ?? []
  } catch (error) {
    if (!UNSUPPORTED.includes(errnoOf(error) ?? '')) {
      problem(`its attributes cannot be listed: ${messageOf(error)}`)
    }
    return []
  }
}
