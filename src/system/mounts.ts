import { readFileSync } from 'node:fs'

/**
 * Every mount point that this process sees, as real paths; null where the system does not tell (/proc is not mounted).
 */
export function mountPoints(): ReadonlySet<string> | null {
  try {
    const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
    return new Set(lines.flatMap(line => line.split(' ').slice(4, 5).map(unescaped)))
  } catch {
    return null
  }
}

/**
 * The number of the mount through which something was opened: nothing is renamed from one to another, be it of the same
 * file system. Null where the system does not tell.
 */
export function mountOf(fd: number): string | null {
  try {
    return /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? null
  } catch {
    return null
  }
}

/** The mount point that a real path lies on. */
export function mountPointOf(path: string, points: ReadonlySet<string>): string {
  for (let at = path; at !== '/' && at !== ''; at = at.slice(0, at.lastIndexOf('/'))) if (points.has(at)) return at
  return '/'
}

/** proc(5): space, tab, newline and backslash in a path are written in octal. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}
