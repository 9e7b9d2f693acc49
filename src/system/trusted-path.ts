import { existsSync, lstatSync, readlinkSync, type Stats, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { errnoOf, NexusError } from '../errors.js'
import { withoutDescriptor } from './held-directory.js'
import { effectiveUser, isOurs } from './ownership.js'

const MOST_LINKS = 40
const STICKY = 0o1000
const OTHERS = 0o077
const OTHERS_MAY_WRITE = 0o022

/**
 * Where a path really leads: links of root and of this user are followed, another user's are not. Who owns a directory
 * on the way could otherwise choose, by a link, what we replace.
 *
 * @param path of something that may not exist yet; its directory may not either
 * @param known a place to which a link may lead all the same
 * @throws NexusError `refused` (`link_of_another_user`)
 */
export function trustedPath(path: string, known: string | null = null): string {
  const absolute = resolve(path)
  const foreign: string[] = []
  const real = follow(absolute, foreign)
  const [link] = foreign
  if (link === undefined || real === known) return real
  throw new NexusError('refused', 'link_of_another_user', `${link} is a symbolic link of another user, to ${real}`, {
    hint: `if it is right that ${real} is meant, name that path itself`,
  })
}

/** Whether a link of another user lies on the way of a path. */
export function hasForeignLink(path: string): boolean {
  const foreign: string[] = []
  follow(resolve(path), foreign)
  return foreign.length > 0
}

/** The links on the way of a path, each with the real path of its directory. */
export function linksOf(path: string): string[] {
  const links: string[] = []
  follow(resolve(path), [], links)
  return links
}

/** Follows links by hand, and keeps those that are not ours. */
function follow(path: string, foreign: string[], all: string[] = []): string {
  let rest = path.split('/').filter(part => part !== '')
  let real = '/'
  let links = 0
  while (rest.length > 0) {
    const [name = '', ...after] = rest
    const next = join(real, name)
    const found = lookAt(next)
    if (found === undefined) return join(real, ...rest)
    if (!found.isSymbolicLink()) {
      real = next
      rest = after
      continue
    }
    links += 1
    if (links > MOST_LINKS) throw looped(path)
    all.push(next)
    if (!isOurs(found)) foreign.push(next)
    const aim = resolve(real, readlinkSync(next))
    // A link that leads nowhere is replaced itself, not made good.
    if (after.length === 0 && !existsSync(aim)) return next
    rest = [...aim.split('/').filter(part => part !== ''), ...after]
    real = '/'
  }
  return real
}

function lookAt(path: string): Stats | undefined {
  try {
    return lstatSync(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined
    throw error
  }
}

function looped(path: string): NexusError {
  return new NexusError('failed', 'too_many_links', `${path} leads through more than ${MOST_LINKS} symbolic links`, {
    hint: 'name the path that it stands for',
  })
}

/**
 * Whether only root and this user can rename, remove or replace what lies in a directory: it and every directory around it
 * is theirs, and closed to others or sticky.
 *
 * @param directory canonical; one that is held must be closed to others itself
 * @param also a further user who may
 */
export function isOursAlone(directory: string, also: number | null = null): boolean {
  if (withoutDescriptor(directory) !== directory) {
    const { uid, mode } = statSync(directory)
    return uid === effectiveUser() && (mode & OTHERS) === 0
  }
  for (let at = directory; ; at = dirname(at)) {
    const found = lstatSync(at)
    if (!found.isDirectory() || !(isOurs(found) || found.uid === also)) return false
    // In a sticky directory others may make names, and not touch ours.
    if ((found.mode & OTHERS_MAY_WRITE) !== 0 && (found.mode & STICKY) === 0) return false
    if (at === dirname(at)) return true
  }
}

/** The directory of a path and the name in it, the directory canonical. */
export function splitPath(path: string): { directory: string; name: string } {
  return { directory: dirname(path), name: basename(path) }
}
