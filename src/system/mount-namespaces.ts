import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join, relative } from 'node:path'

/** A line of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)). */
interface Mount {
  device: string
  /** What of the file system is mounted. */
  root: string
  point: string
}

/** A place at which something is mounted. */
export interface MountedAt {
  point: string
  /** A process of the mount namespace where it is; null for this process's own. */
  pid: number | null
}

/**
 * Where a file or directory is mounted by itself, in this mount namespace and in those of all processes that can be seen;
 * with `inside`, what lies in it counts too. Empty where there is no `/proc`.
 *
 * @param path real path
 */
export function mountsOf(path: string, { inside = false } = {}): MountedAt[] {
  const own = mountsIn('self')
  let at: Mount | undefined
  for (const mount of own) {
    const { point } = mount
    const covers = path === point || point === '/' || path.startsWith(`${point}/`)
    // Of several at one place the last one is seen.
    if (covers && point.length >= (at?.point.length ?? 0)) at = mount
  }
  if (at === undefined) return []
  const [root, device] = [join(at.root, relative(at.point, path)), at.device]
  const isIt = (mount: Mount) =>
    mount.device === device && (mount.root === root || (inside && mount.root.startsWith(`${root}/`)))
  const seen = new Set([namespaceOf('self')])
  const elsewhere = processIds().flatMap(pid => {
    const namespace = namespaceOf(pid)
    if (namespace === '' || seen.has(namespace)) return []
    seen.add(namespace)
    return mountsIn(pid)
      .filter(isIt)
      .map(({ point }) => ({ point, pid: Number(pid) }))
  })
  return [...own.filter(isIt).map(({ point }) => ({ point, pid: null })), ...elsewhere]
}

function mountsIn(pid: string): Mount[] {
  return read(`/proc/${pid}/mountinfo`)
    .split('\n')
    .flatMap(line => {
      const [, , device, root, point] = line.split(' ').map(unescaped)
      return device === undefined || root === undefined || point === undefined ? [] : [{ device, root, point }]
    })
}

function processIds(): string[] {
  try {
    return readdirSync('/proc').filter(name => /^\d+$/.test(name))
  } catch {
    return []
  }
}

function namespaceOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/mnt`)
  } catch {
    return ''
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

/** Space, tab, newline and backslash in a path are written in octal, byte by byte. */
function unescaped(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
  return Buffer.from(bytes, 'latin1').toString()
}
