import { lstatSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Mount points at a path and below it: such a directory cannot be renamed away from under its file system, and one that
 * holds others would take them along. Without /proc only the path itself is looked at.
 *
 * @param target real path
 */
export function mountPointsIn(target: string): string[] {
  let text: string
  try {
    text = readFileSync('/proc/self/mountinfo', 'utf8')
  } catch {
    return lstatSync(target).dev === lstatSync(dirname(target)).dev ? [] : [target]
  }
  const points = text.split('\n').flatMap(line => line.split(' ').slice(4, 5).map(unescaped))
  return points.filter(point => point === target || point.startsWith(`${target}/`))
}

/** proc(5): space, tab, newline and backslash in a path are written in octal, byte by byte. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}
