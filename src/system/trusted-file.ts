import { lstatSync } from 'node:fs'
import { dirname } from 'node:path'
import { errnoOf, messageOf } from '../errors.js'
import { isOurs } from './ownership.js'
import { isOursAlone, linksOf, trustedPath } from './trusted-path.js'

const OTHERS_MAY_WRITE = 0o022
const ANY_MAY_RUN = 0o111

/**
 * Why a file may be other than what root or this user put there; null where only they can write to it, rename it, or
 * change what its path leads to.
 *
 * @param path absolute
 * @param wanted `program`: it must be executable too
 * @param also a further user to whom it may belong
 */
export function distrustOf(path: string, wanted: 'program' | 'file', also: number | null = null): string | null {
  try {
    const real = trustedPath(path)
    const found = lstatSync(real)
    const name = real === path ? path : `${real}, to which ${path} leads,`
    if (!found.isFile()) return `${name} is no regular file`
    if (!isOurs(found) && found.uid !== also) return `${name} belongs to user ${found.uid}`
    if ((found.mode & OTHERS_MAY_WRITE) !== 0) return `${name} can be written by others`
    if (!isOursAlone(dirname(real), also)) return `${name} lies in a directory in which others can replace it`
    const link = linksOf(path).find(one => !isOursAlone(dirname(one), also))
    if (link !== undefined) return `${link}, a link to ${real}, lies in a directory in which others can replace it`
    if (wanted === 'program' && (found.mode & ANY_MAY_RUN) === 0) return `${name} is not executable`
    return null
  } catch (error) {
    return errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR' ? `there is no ${path}` : messageOf(error)
  }
}
