import { lstatSync } from 'node:fs'
import { dirname } from 'node:path'
import { mountPoints } from '../../system/mounts.js'

/**
 * Mount points at a path and below it: such a directory cannot be renamed away from under its file system, and one that
 * holds others would take them along. Without /proc only the path itself is looked at.
 *
 * @param target real path
 */
export function mountPointsIn(target: string): string[] {
  const points = mountPoints()
  if (points === null) return lstatSync(target).dev === lstatSync(dirname(target)).dev ? [] : [target]
  return [...points].filter(point => point === target || point.startsWith(`${target}/`))
}
