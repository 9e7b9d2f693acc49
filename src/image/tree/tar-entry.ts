import { badArchive } from './tar-error.js'
import type { TarHeader } from './tar-header.js'
import { isInnerPath } from './tree-entry.js'
import type { TreeEntry } from './types.js'

const types: Record<string, TreeEntry['type'] | undefined> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
}

/**
 * The entry that a header stands for; null for the root of the tree itself.
 *
 * @throws NexusError `failed` for paths that do not stay inside and members that no tree image can hold
 */
export function tarEntry(header: TarHeader): TreeEntry | null {
  const shown = JSON.stringify(header.name)
  const type = header.type === '\0' && header.name.endsWith('/') ? 'directory' : types[header.type]
  if (type === undefined) throw badArchive(`holds ${shown}, which no tree image can hold (type ${header.type})`)
  const path = relative(header.name)
  if (path === '' && type === 'directory') return null
  if (!isInnerPath(path)) throw badArchive(`holds ${shown}, which does not stay inside the tree`)
  if (type !== 'file' && header.size !== 0) throw badArchive(`holds ${shown} with content, which is no plain file`)
  const link = type === 'hardlink' ? relative(header.link) : type === 'symlink' ? header.link : ''
  const { mode, uid, gid, owner, group, mtime, size } = header
  const device = type.endsWith('-device') ? { device: header.device } : {}
  return {
    path,
    type,
    mode,
    uid,
    gid,
    owner,
    group,
    mtime,
    size,
    link,
    ...device,
    sparse: false,
    base: null,
    facts: {},
  }
}

/** `./a//b/` as `a/b`. A leading slash stays: such a path is refused. */
function relative(path: string): string {
  const parts = path.split('/').filter((part, at) => part !== '.' && (part !== '' || at === 0))
  return parts.join('/')
}
